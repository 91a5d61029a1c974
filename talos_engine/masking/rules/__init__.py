"""Mask rules, one file each; every file registers one ``MaskRule`` under its own name."""
