"""Loggers of a run: metrics.csv, Weights & Biases, and any other of Lightning's."""
