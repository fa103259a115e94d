"""The regression gate: is a candidate no worse than a baseline by more than a margin?

Non-inferiority on the image-clustered paired difference.  "No significant drop" is not a pass: a set too small to tell
gives `inconclusive`.  Whatever is wrong with an input, the gate does not pass (it raises).
"""
