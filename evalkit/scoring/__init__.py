"""Scoring: answers to scores, scores to metrics."""
