"""Image and pixel metrics, in memory that does not grow with the number of maps."""
