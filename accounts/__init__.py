"""Who: people, organizations, memberships, tokens, and the record of who did what."""
