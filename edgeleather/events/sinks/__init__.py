"""The kinds of sinks, one file per kind."""
