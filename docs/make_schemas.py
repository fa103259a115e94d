"""Write docs/schemas/*.json again, from the types of `evalkit.runs.schema`: python docs/make_schemas.py"""

from __future__ import annotations

import json
from pathlib import Path

from evalkit.core.types import Score
from evalkit.runs import schema
from evalkit.runs.codec import json_schema

FOLDER = Path(__file__).with_name("schemas")
RECORDS = {
    "manifest": schema.Manifest,
    "prediction": schema.PredictionLine,
    "score": Score,
    "summary": schema.Summary,
    "leaderboard-result": schema.LeaderboardResult,
    "prompts": schema.PromptFile,
    "judge-plan": schema.JudgePlan,
    "judgment": schema.Judgment,
    "judged": schema.JudgedFile,
    "gate-baseline": schema.Baseline,
}


def files() -> dict[str, str]:
    """File name -> content of every schema."""
    return {
        f"{name}.json": json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"
        for name, kind in RECORDS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
