"""The exceptions that evalkit raises, each with one paragraph: what is wrong, where, what was expected, what to do."""

from evalkit.core.errors import (
    ConfigError,
    DataError,
    EngineError,
    EvalkitError,
    GateFailed,
    Inconclusive,
    JudgeError,
    ModelError,
    Partial,
    StoreError,
)

__all__ = [
    "ConfigError",
    "DataError",
    "EngineError",
    "EvalkitError",
    "GateFailed",
    "Inconclusive",
    "JudgeError",
    "ModelError",
    "Partial",
    "StoreError",
]
