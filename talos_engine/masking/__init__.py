"""Rules that decide which entries train; one file per rule under ``rules``."""
