"""evalkit: a benchmark harness for medical visual question answering whose numbers can be trusted."""

__version__ = "0.1.0"
