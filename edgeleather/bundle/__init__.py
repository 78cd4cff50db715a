"""The bundle: what is deployed, and what proves it."""
