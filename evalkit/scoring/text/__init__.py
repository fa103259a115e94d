"""Reading and normalising answers."""
