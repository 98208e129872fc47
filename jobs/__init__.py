"""What runs: jobs, attempts, agents, outputs, and the order in which they get a GPU."""
