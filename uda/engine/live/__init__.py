"""What people see of a run while it trains: curves, pictures, and a line in the terminal."""
