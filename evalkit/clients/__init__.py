"""The chat completions interface of OpenAI-compatible servers: what judges and the engine of served models share."""
