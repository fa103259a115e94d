"""Client for the chat completions interface of OpenAI-compatible servers, used by judges and by engine=server."""
