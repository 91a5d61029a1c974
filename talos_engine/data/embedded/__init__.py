"""Embedded tasks, one file each; every file registers one ``TaskSpec`` under its own name."""
