"""Run by maintainers only."""
