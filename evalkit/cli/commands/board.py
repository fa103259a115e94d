"""Rebuild the leaderboards from papers' figures and results.

With board.check=true the tables are not written but compared with the files on disk; any difference is an error.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import DataError

HELP_ORDER = 130
EXAMPLES = (
    "evalkit board leaderboard=runs/leaderboards",
    "evalkit board leaderboard=leaderboards board.check=true",
)


def main(config: Config) -> int:
    """Rebuild the tables from the results, or check that they are up to date."""
    from evalkit.reports.leaderboard import check, rebuild

    folder = Path(config["leaderboard"])
    if config["board"]["check"]:
        if differing := check(folder):
            raise DataError(
                f"{len(differing)} files of {folder} differ from what its figures, results and scores produce: "
                f"{', '.join(differing[:5])}. "
                f"Run `python -m evalkit board leaderboard={folder}` and commit what it writes."
            )
        console.out(f"{folder}: the tables agree with the figures, results and scores")
        return 0
    for path in rebuild(folder):
        console.out(str(path))
    return 0
