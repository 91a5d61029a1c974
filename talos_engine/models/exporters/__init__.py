"""Targets of ``talos export``, one file each; every file registers one ``ExporterEntry``."""
