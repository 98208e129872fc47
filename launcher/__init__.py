"""Starts and tests the studio on one machine.

The launcher runs before the virtual environment exists, so it uses the standard library alone
and imports no other package of this repository.
"""
