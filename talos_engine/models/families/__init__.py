"""Libraries whose models talos runs, one file each; every file registers one family."""
