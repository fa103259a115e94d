"""Finished runs for people and other tools."""
