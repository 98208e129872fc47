"""With what: models, their versions and their files."""
