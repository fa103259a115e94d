"""Judging in a separate process, which tests kill: python -m tests.support.judge_child FOLDER URL N."""

from __future__ import annotations

import sys
from pathlib import Path

from evalkit.judge.api import judge_run
from tests.support.judge_samples import answers, chat, config

if __name__ == "__main__":
    folder, url, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    samples = chat(n)
    settings = config(url, order="swap", concurrency=8, cache=str(folder / "cache.sqlite"))
    judge_run(folder / "run", settings, samples, answers(samples)).check()
