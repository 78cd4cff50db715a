"""The inspection loop: sources, inspector, sinks. Nothing here imports torch."""
