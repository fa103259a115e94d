"""Normalising answers and reading yes, no, lists and refusals out of them."""
