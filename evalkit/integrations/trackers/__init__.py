"""Experiment trackers: what `tracker=NAME` sends a finished run to (docs/trackers.md); one module each."""
