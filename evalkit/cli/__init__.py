"""Command line and configuration; the only room that knows Hydra."""
