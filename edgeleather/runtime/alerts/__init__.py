"""Whom the station tells: one file a kind of receiver, one line each in `table.py`."""
