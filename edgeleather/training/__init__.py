"""Training runs: the frame that trains every method, and what it leaves."""
