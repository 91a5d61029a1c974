"""Backbones, the structure of their parameters, and their classification heads."""
