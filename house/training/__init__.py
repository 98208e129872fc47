"""Trains the parts of the house model, each by a command that can be stopped and taken up again."""
