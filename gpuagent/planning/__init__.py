"""Pure arithmetic of memory: what fits where, and what to evict."""
