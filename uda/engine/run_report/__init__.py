"""What finished, unfinished and damaged runs left behind, gathered for one page."""
