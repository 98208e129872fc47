"""Measurements that compare the studio with a bare reference in the same run.

`python -m benchmarks.NAME [--full]`; see `docs/benchmarks.md`.
"""
