"""The command line: `python -m evalkit [VERB] [overrides...]`, also installed as `evalkit`; no verb means `run`.

A verb is a module `evalkit/cli/commands/VERB.py` and its settings `conf/VERB.yaml`.  Exit codes: 0 done, 1 gate
failed, 2 usage, config or data error, 3 finished in part, 4 gate inconclusive, 70 a bug in evalkit, 130 interrupted.
"""

from __future__ import annotations

import sys

from evalkit.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
