"""The agent: one process on one GPU (or CPU) that makes pictures. Never imports Django."""
