"""Merging methods, one file each; every file registers one ``MergeMethod``."""
