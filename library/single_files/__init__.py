"""Single-file checkpoints, taken apart into the folder that agents load. Pure but for the files."""
