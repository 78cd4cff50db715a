"""Activation ranges, INT8 Q/DQ, FP16 and their guards. No precision but fp32 is built yet, so this package is empty."""
