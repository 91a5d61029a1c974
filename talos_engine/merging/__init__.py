"""Combining task vectors; ``methods`` holds one file per method over the shared ``ops``."""
