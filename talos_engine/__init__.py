"""The engine of talos: masks, sparse fine-tuning, task vectors, merging and evaluation.

A library that is usable without the command line. ``talos_engine.workflows`` holds one function per
subcommand; everything else is in the rooms below it. Importing this package imports no torch.
"""

from talos_engine.version import __version__

__all__ = ["__version__"]
