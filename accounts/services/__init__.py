"""Writes: atomic, audited, announced on commit."""
