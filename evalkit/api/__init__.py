"""The Python interface: the verbs of the command line as functions, with their results as objects (docs/python.md)."""
