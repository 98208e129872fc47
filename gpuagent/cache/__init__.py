"""What the agent keeps: files on disk by their hash, models in memory by their digest."""
