"""Fake of the exception that vLLM raises when its engine process has died."""

from vllm.exceptions import VLLMError


class EngineDeadError(VLLMError):
    pass
