"""How models learn: one interface, splits, seeds, permuted labels, and files that hold no code."""
