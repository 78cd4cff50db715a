"""Engines: a loaded graph behind one small contract. One file a backend; none of them imports torch."""
