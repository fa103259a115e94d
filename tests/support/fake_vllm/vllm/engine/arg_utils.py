"""The arguments of `vllm.LLM`, of which those matter here that only some versions have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineArgs:
    mm_device_do_normalize: bool | None = True
