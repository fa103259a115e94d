"""Coverage-guided fuzzing of one target with atheris: `python -m tests.fuzz.run TARGET [OUT] [-OPTION=VALUE ...]`.

New inputs are collected in OUT (default: a temporary folder); the committed corpus is only read.  Options are those of
libFuzzer; a run ends after ten minutes, at the first finding, at 10 s for one input, or at 4 GB, unless they say
otherwise.  The finding is written to OUT/finding-….
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LIMITS = ("-max_total_time=600", "-timeout=10", "-rss_limit_mb=4096", "-max_len=4096")


def main(argv: list[str]) -> None:
    try:
        import atheris
    except ImportError:
        raise SystemExit("tests.fuzz.run needs atheris: pip install atheris (it has wheels for Linux)") from None

    with atheris.instrument_imports(include=["evalkit", "openpyxl", "zipfile"]):
        from tests.fuzz.targets import TARGETS, load_all

        load_all()

    words = [word for word in argv if not word.startswith("-")]
    if not words or words[0] not in TARGETS:
        raise SystemExit(f"{__doc__}\nTargets: {', '.join(TARGETS)}.")
    out = Path(words[1] if len(words) > 1 else tempfile.mkdtemp(prefix="evalkit-fuzz-"))
    new = out / words[0]
    new.mkdir(parents=True, exist_ok=True)
    options = [f"-artifact_prefix={out}/finding-{words[0]}-", *LIMITS, *(w for w in argv if w.startswith("-"))]
    atheris.Setup([sys.argv[0], *options, str(new), str(CORPUS / words[0])], TARGETS[words[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
