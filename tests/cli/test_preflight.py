"""The look at the first answers of a run, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError, EngineError
from evalkit.core.types import CUT_IN_REASONING, REASONING_ALONE, Prediction, Sample
from evalkit.pipeline.preflight import LONG, Preflight
from evalkit.pipeline.settings import Settings
from evalkit.scoring.protocols.strict import Strict
from tests.support.command_line import in_this_process as evalkit
from tests.support.command_line import lines

PROTOCOLS = [Strict(name="strict", version=2)]
SAMPLES = {
    "a": Sample(id="a", image_id="1", question="Is it large?", references=("yes",), tags={"answer_type": "CLOSED"}),
    "b": Sample(id="b", image_id="1", question="What is it?", references=("a disc",), tags={"answer_type": "OPEN"}),
}


def answer(i: str, text: str | None, error: str | None = None) -> Prediction:
    return Prediction(sample_id=i, text=text, error=error)


@pytest.mark.parametrize(
    ("predictions", "problem"),
    [
        ([answer("a", "yes")], None),
        ([answer("b", "nothing of it")], None),
        ([answer("a", "yes"), answer("b", "")], None),
        ([answer("a", "")], "1 empty"),
        ([answer("a", "a shadow of it")], "1 unreadable"),
        ([answer("a", None, CUT_IN_REASONING), answer("b", None, CUT_IN_REASONING)], "2 cut inside their reasoning"),
        ([answer("a", None, REASONING_ALONE)], "1 with reasoning alone"),
        ([answer("a", None, "timeout"), answer("a", "yes"), answer("b", "")], "1 failed .timeout.; 1 empty"),
    ],
)
def test_what_counts_as_readable(
    predictions: list[Prediction], problem: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    Preflight(n=8, require=None, protocols=PROTOCOLS).check(SAMPLES, predictions)
    said = capsys.readouterr().err
    assert bool(said) is (problem is not None)
    strict = Preflight(n=8, require=1.0, protocols=PROTOCOLS)
    if problem is None and all(p.text for p in predictions):
        strict.check(SAMPLES, predictions)
        return
    with pytest.raises(EngineError, match=problem or "empty"):
        strict.check(SAMPLES, predictions)


def test_short_runs_are_not_looked_at_unless_a_share_is_required() -> None:
    look = Preflight(n=8, require=None, protocols=PROTOCOLS)
    assert look.of(LONG - 1) is None
    assert look.of(LONG) is look
    required = Preflight(n=8, require=0.5, protocols=PROTOCOLS)
    assert required.of(1) is required
    assert required.of(0) is None


@pytest.mark.parametrize(("n", "require"), [(0, None), (-1, None), (8, 0.0), (8, 1.5)])
def test_invalid_settings_are_refused(n: int, require: float | None) -> None:
    with pytest.raises(ConfigError, match="preflight"):
        Settings(model="m", preflight=n, preflight_require=require)


@pytest.mark.slow
def test_a_run_stops_after_the_first_answers_and_goes_on_from_them(tmp_path: Path) -> None:
    words = ["model=scripted", "model.rule=question", "task=phantom", "protocol=strict", f"out={tmp_path}", "limit=60"]
    stopped = evalkit(*words, "preflight.require=0.95", cwd=tmp_path)
    assert stopped.returncode == 2, stopped.stderr
    assert "preflight.require=0.95" in stopped.stderr and "Traceback" not in stopped.stderr
    kept = [len(lines(p)) for p in tmp_path.glob("*/predictions.jsonl")]
    assert len(kept) == 1 and 8 <= kept[0] < 60
    again = evalkit(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{kept[0]} of 60 answers are already" in again.stderr


@pytest.mark.few(1)
@pytest.mark.parametrize("word", ["preflight=16", "preflight=null", "preflight.n=3", "preflight.require=0.01"])
def test_the_settings_have_short_forms(tmp_path: Path, word: str) -> None:
    result = evalkit(
        "model=scripted", "model.rule=yes", "task=phantom", "limit=3", word, f"out={tmp_path}", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.few(1)
@pytest.mark.parametrize("word", ["preflight=0", "preflight.require=2", "preflight.n=x", "preflight.requires=0.5"])
def test_a_wrong_setting_is_one_paragraph(tmp_path: Path, word: str) -> None:
    result = evalkit("model=phantom-llava", "task=phantom", "limit=2", word, f"out={tmp_path}", cwd=tmp_path)
    assert result.returncode == 2, result.stdout
    assert "preflight" in result.stderr and "Traceback" not in result.stderr
