"""The inspection loop and the station file."""
