"""From an answer to scores, from scores to metrics."""
