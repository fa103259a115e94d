"""What finished runs tell: comparisons, gate, sanity checks."""
