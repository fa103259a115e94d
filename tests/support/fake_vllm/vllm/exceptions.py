"""Fake of vLLM's exceptions; engines need the base class only."""


class VLLMError(Exception):
    pass


class VLLMValidationError(VLLMError):
    pass
