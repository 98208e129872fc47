"""Running attempts: the link to the studio, leases, progress, finishing, draining."""
