"""``python -m talos_cli``, the same as ``talos``."""

from talos_cli.main import main

main()
