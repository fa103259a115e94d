"""Fuzzing of evalkit's parsers: the checks of one input, their corpus, and a coverage-guided runner."""
