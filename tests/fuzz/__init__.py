"""Random and damaged input: the right result or the documented error, never anything else."""
