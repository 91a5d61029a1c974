"""Known models, one file each; every file registers one ``ModelSpec`` under its own name."""
