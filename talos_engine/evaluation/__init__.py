"""Measures: accuracy, coefficient search, disentanglement."""
