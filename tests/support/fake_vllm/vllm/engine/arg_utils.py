"""Fake of the arguments of `vllm.LLM`; only those that not all versions have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineArgs:
    mm_device_do_normalize: bool | None = True
    logprobs_mode: str = "raw_logprobs"
