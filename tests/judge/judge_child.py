"""Judges in a process of its own, to be killed: python judge_child.py FOLDER URL N."""

from __future__ import annotations

import sys
from pathlib import Path

from judge_samples import answers, chat, config

from evalkit.judge.session import judge_run

if __name__ == "__main__":
    folder, url, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    samples = chat(n)
    settings = config(url, order="swap", concurrency=8, cache=str(folder / "cache.sqlite"))
    judge_run(folder / "run", settings, samples, answers(samples)).check()
