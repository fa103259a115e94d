"""The values that travel along the path, errors and output: everything may import it, it imports nothing of evalkit."""
