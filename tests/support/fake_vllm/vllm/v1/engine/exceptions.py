"""What vLLM raises when its engine process is gone."""

from vllm.exceptions import VLLMError


class EngineDeadError(VLLMError):
    pass
