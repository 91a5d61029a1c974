"""Per-example squared gradients: the diagonal of the Fisher information matrix."""
