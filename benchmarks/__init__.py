"""Accuracy against speed, each engine in a process of its own."""
