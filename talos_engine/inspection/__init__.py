"""What artifacts look like: counts, norms, overlaps, histograms. Files are opened elsewhere."""
