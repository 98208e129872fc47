"""Vector drawings with captions: what the house model learns from, all of it drawn here."""
