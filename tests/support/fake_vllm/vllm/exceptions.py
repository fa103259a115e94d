"""vLLM's tree of errors, of which an engine needs the root."""


class VLLMError(Exception):
    pass


class VLLMValidationError(VLLMError):
    pass
