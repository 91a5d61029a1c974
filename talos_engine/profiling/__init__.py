"""Clocks and memory meters; what is measured with them is put together in ``workflows``."""
