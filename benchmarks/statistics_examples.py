"""Files for the examples of docs/statistics.md, in the current folder: python benchmarks/statistics_examples.py SLAKE

SLAKE is the folder with SLAKE's test.json.  all-right.json, one-wrong.json: its references as answers, without and with
a wrong one.  equal-a.json to equal-j.json: ten models that are right with the same chance, 80 % on average, drawn for
each model and image from a beta distribution (intraclass correlation 0.1).  sites.csv: 5 questions on each of 20 images
of one site and 2 of another, with two models' answers in x.json and y.json.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path

from evalkit.core.files import write_json

MODELS = "abcdefghij"
# Mean and ICC: shapes m (1 - r) / r and (1 - m) (1 - r) / r of the beta distribution.
RIGHT, ICC = 0.8, 0.1
OTHER = {"Yes": "No", "No": "Yes"}


def answers(rows: list[dict[str, str]], model: str) -> list[dict[str, str]]:
    """The answers of a model to rows of `id`, `image` and `answer`, the same for the same name."""
    draw, spread = random.Random(model), (1 - ICC) / ICC
    chance = {row["image"]: draw.betavariate(RIGHT * spread, (1 - RIGHT) * spread) for row in rows}
    return [_said(row, draw.random() < chance[row["image"]]) for row in rows]


def _said(row: dict[str, str], right: bool) -> dict[str, str]:
    return {"id": row["id"], "answer": row["answer"] if right else OTHER.get(row["answer"], "none of these")}


def slake_rows(folder: Path) -> list[dict[str, str]]:
    """The English test rows."""
    rows = json.loads((folder / "test.json").read_text(encoding="utf-8"))
    return [{"id": str(r["qid"]), "image": r["img_name"], "answer": r["answer"]} for r in rows if r["q_lang"] == "en"]


def site_rows() -> list[dict[str, str]]:
    """Rows of a table, 20 images of site A and 2 of site B, 5 questions an image."""
    return [
        {"id": f"{image}-{k}", "image": f"{image}.png", "site": "A" if image <= 20 else "B",
         "question": f"Is finding {k} present?", "answer": "Yes" if (image + k) % 2 else "No"}
        for image in range(1, 23) for k in range(1, 6)
    ]  # fmt: skip


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    slake, sites = slake_rows(Path(sys.argv[1])), site_rows()
    write_json(Path("all-right.json"), [_said(row, True) for row in slake])
    write_json(Path("one-wrong.json"), [_said(row, k > 0) for k, row in enumerate(slake)])
    for model in MODELS:
        write_json(Path(f"equal-{model}.json"), answers(slake, model))
    with Path("sites.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(sites[0]))
        writer.writeheader()
        writer.writerows(sites)
    for model in "xy":
        write_json(Path(f"{model}.json"), answers(sites, model))


if __name__ == "__main__":
    main()
