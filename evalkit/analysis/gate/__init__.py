"""The regression gate: is a candidate no worse than a baseline by more than a margin?

Tests non-inferiority on the image-clustered paired difference.  "No significant drop" is not a pass: a set too small to
tell gives `inconclusive`.  An invalid input is an error, never a pass.
"""
