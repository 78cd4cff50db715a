"""Engines: a loaded graph behind one small contract. `table.py` names the backends; each has a folder, and none needs torch."""
