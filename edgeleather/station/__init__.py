"""The inspection loop, and stations: what one inspection place is, opened and run from a file."""
