"""From a task and an engine to scored predictions."""
