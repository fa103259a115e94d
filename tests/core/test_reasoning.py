"""Reasoning is split off an answer: marks of every kind, broken ones, and texts of any length."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.reasoning import (
    belongs_to_marks,
    cut_unmarked,
    is_thought_token,
    opens_thought,
    separate,
    split,
)
from evalkit.core.types import CUT_IN_REASONING, REASONING_ALONE, Prediction

HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}"
# Marks around a thought, in the form of a template for thought and answer.
FORMS = {
    "think": "<think>{}</think>{}",
    "line breaks": "\n<think>\n{}\n</think>\n\n{}",
    "bare close": "{}</think>\n{}",
    "upper case": "<THINK>{}</THINK> {}",
    "thinking": "<thinking>{}</thinking>\n{}",
    "thought": "<thought>{}</thought>\n{}",
    "reasoning": "<reasoning>{}</reasoning>\n{}",
    "analysis": "<analysis>{}</analysis>\n{}",
    "attributes": '<think type="long" n=2>{}</think>{}',
    "white space": "< think >{}</ think >{}",
    "name space": "<seed:think>{}</seed:think>{}",
    "bars": "<|think|>{}<|/think|>{}",
    "escaped": "&lt;think&gt;{}&lt;/think&gt;{}",
    "wrong name at the end": "<think>{}</thinking>{}",
    "opened twice": "<think>\n<think>\n{}</think>{}",
    "brackets": "[THINK]{}[/THINK]{}",
    "bare bracket": "{}[/THINK]{}",
    "kimi": "◁think▷{}◁/think▷{}",
    "medgemma": "<unused94>thought\n{}<unused95>{}",
    "begin of thought": "<|begin_of_thought|>{}<|end_of_thought|>\n\n<|begin_of_solution|>{}<|end_of_solution|>",
    "cohere": "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "gemma": "<|channel>thought\n{}<channel|>{}",
    "inner": "<|inner_prefix|>{}<|inner_suffix|>{}",
    "harmony": HARMONY,
    "harmony to the end": HARMONY + "<|return|>",
    "harmony without special tokens": "analysis{}assistantfinal{}",
    "harmony with the role": "assistantanalysis{}assistantfinal{}",
    "harmony, answer without a channel": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|message|>{}",
    "harmony, capital": "<|channel|>Analysis<|message|>{}<|end|><|start|>assistant<|channel|>Final<|message|>{}",
    "headings": "## Thinking\n\n{}\n\n## Final Response\n\n{}",
    "asked headings": "### Reasoning\n{}\n### Answer\n{}",
    "words in brackets": "[Reasoning] {} [Answer] {}",
    "apriel": "Here are my reasoning steps:\n{}\n[BEGIN FINAL RESPONSE]\n{}\n[END FINAL RESPONSE]",
    "ollama": "Thinking...\n{}\n...done thinking.\n\n{}",
    "open webui": '<details type="reasoning" done="true">\n{}\n</details>\n{}',
    "rationale": "<rationale>{}</rationale>{}",
    "chain of thought": "<chain_of_thought>{}</chain_of_thought>{}",
    "thinking process": "<thinking_process>{}</thinking_process>{}",
    "thought process": "<thought_process>{}</thought_process>{}",
    "longcat": "<longcat_think>{}</longcat_think>{}",
    "thought tokens": "<|thought_start|>{}<|thought_end|>{}",
    "working out": "<start_working_out>{}<end_working_out>{}",
    "llava-cot": "<SUMMARY>s</SUMMARY><CAPTION>c</CAPTION><REASONING>{}</REASONING><CONCLUSION>{}</CONCLUSION>",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_thought_in_any_form_is_no_part_of_the_answer(form: str) -> None:
    found = split(form.format("Yes, CT or MRI?", "X-ray"))
    assert found.answer == "X-ray"
    assert "Yes, CT or MRI?" in found.reasoning
    assert found.found
    assert not found.is_cut


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "CT", "No mass is seen.", " CT \n", "a < b > c", "<answer>CT</answer>", r"\boxed{CT}", "<br>",
        "[1] CT", "I think so", "<thinks>no", "analysis of the image", "Analysis: CT", "Thinking of a mass", "<|end|>",
        "</answer>", "think>", "<think", "<unused9>", "# Thin walls", "◁ left ▷", "<thınk>a</thınk>",
        "<analyſis>CT", "finally CT", "final CT",
    ],
)  # fmt: skip
def test_a_text_without_a_thought_is_unchanged(text: str) -> None:
    assert split(text) == (text, "", False, False)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think>CT<think>b</think>", "CT"),
        ("CT<think>a</think>", "CT"),
        ("<think>a</think>It is<think>b</think> a CT", "It is a CT"),
        ("<think>a</think>\nNo.\n<think>b</think>\nNone.", "No.\nNone."),
        ("<think>a<think>b</think>c</think>CT", "CT"),
        ("<think>a <reasoning>b</reasoning> c</think>CT", "CT"),
        ("<think>in <answer>MRI</answer></think><answer>CT</answer>", "<answer>CT</answer>"),
        ("<think>the <reasoning> tag</think>CT", "CT"),
        (r"<think>\boxed{MRI}</think>\boxed{CT}", r"\boxed{CT}"),
        ("<think></think>CT", "CT"),
        ("<think/>CT", "CT"),
        ("a</think>b</think>CT", "CT"),
        ("<think>a</think></think>CT", "CT"),
        ("<think>a</think>CT</think>", "CT"),
        ("<think>a</think>", ""),
        ("a</think>CT</think>", "CT"),
        ("### Reasoning\nThe lung.", "### Reasoning\nThe lung."),
        ("a<|end|><|start|>assistant<|channel|>final<|message|>CT", "CT"),
        ("<|channel|>commentary to=x <|constrain|>json<|message|>a<|call|><|channel|>final<|message|>CT", "CT"),
        ("<|channel|>final<|message|>CT<|return|>", "CT"),
        ("<|start|>assistant<|message|>CT", "CT"),
        ("We see it.assistantfinalCT", "CT"),
        ("finalCT", "CT"),
        ("<think><think>a</think>CT", "CT"),
        ("<unused94>thought\n<unused94>thought\na<unused95>CT", "CT"),
        ("<think>it ends with `</think>`, so a</think>CT", "CT"),
        ("<think>标签“</think>”：a</think>CT", "CT"),
        ("first `<think>`, so a</think>CT", "CT"),
        ('<think>is "yes"</think>"CT"', '"CT"'),
        ("`<think>`a`</think>`CT", "` `CT"),
    ],
)
def test_what_remains_is_the_answer(text: str, answer: str) -> None:
    found = split(text)
    assert (found.answer, found.is_cut) == (answer, False)


@pytest.mark.parametrize(
    "text",
    [
        "<think>yes", "<think>", "<THINKING>yes", "[THINK]yes", "◁think▷yes", "<unused94>thought\nyes",
        "yes <think>but", "<|begin_of_thought|>yes", "<think>a</think>CT<think>but", "<think>a<think>b</think>yes",
        "<reasoning>yes", "<|channel|>analysis<|message|>yes", "<|channel|>analysis<|message|>yes<|end|>",
        "<|channel|>anal", "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>", "analysisWe need yes",
        "analysisperhaps yes", "Here are my reasoning steps:\nyes", "Thinking...\nyes", "<SUMMARY>yes</SUMMARY>",
        "## Thinking\n\nyes", "<|channel>thought\nyes", "<think>in </answer> yes", "<|channel>", "<|channel>tho",
        "<think>it ends with `</think>`, so yes", "<|start|>assistant", "<|start|>assistant<|channel|>",
    ],
)  # fmt: skip
def test_a_thought_that_is_never_closed_leaves_no_answer(text: str) -> None:
    found = split(text)
    assert found.is_cut
    assert found.answer == ""
    made = separate(Prediction(sample_id="1", text=text))
    assert (made.text, made.error, made.raw) == (None, CUT_IN_REASONING, text)
    assert made.is_cut
    assert not made.failed


@pytest.mark.parametrize(
    ("text", "answer", "is_cut"),
    [
        ("a</think>CT", "CT", False), ("<think>a</think>CT", "CT", False), ("Perhaps CT", "", True), ("", "", True),
        ("a <think>b</think> c</think>CT", "CT", False), ("a<thinking>b<reasoning>c[/THINK]CT", "CT", False),
        ("a <think>b<reasoning>c</think> d</think>CT", "CT", False), ("a <think>b</think>yes", "", True),
    ],
)  # fmt: skip
def test_an_answer_may_begin_inside_the_thought_that_its_prompt_has_opened(
    text: str, answer: str, is_cut: bool
) -> None:
    found = split(text, opened=True)
    assert (found.answer, found.is_cut) == (answer, is_cut)


@pytest.mark.parametrize(
    ("text", "opened", "stopped", "answer"),
    [
        ("<think>a</think>yes</think>", False, False, "yes"),
        ("<think>a</think>yes</think>", False, True, ""),
        ("<think><think>a</think>yes</think>", False, False, ""),
        ("<think>a</think>yes</think>", True, False, ""),
        ("<think>a</think>CT", True, True, "CT"),
        ("<thi", False, True, ""),
        ("<|start|>assistant<|chan", False, True, ""),
        ("<thi", False, False, "<thi"),
    ],
)
def test_what_is_closed_once_more_may_be_a_thought(text: str, opened: bool, stopped: bool, answer: str) -> None:
    """A thought that was opened twice, closed for the model, or stopped at its limit: its end is no answer."""
    assert split(text, opened=opened, stopped=stopped).answer == answer
    for made in (Prediction(sample_id="1", text=text, finish_reason="length"),
                 Prediction(sample_id="1", text=text, finish_reason="stop", thought_forced=stopped)):  # fmt: skip
        if stopped or made.finish_reason == "stop":
            assert (separate(made, opened=opened).text or "") == answer


def test_a_heading_of_a_thought_is_left_out_at_its_start_alone() -> None:
    assert split("<unused94>thought\nMy\nanalysis\nends.<unused95>CT").reasoning == "My\nanalysis\nends."


def test_a_prompt_that_ends_with_an_open_thought_is_recognised() -> None:
    assert opens_thought("<|im_start|>assistant\n<think>\n")
    assert opens_thought("[THINK]")
    assert not opens_thought("<think>\n\n</think>\n\n")
    assert not opens_thought("Put your thoughts into <think> tags. ASSISTANT:")
    assert not opens_thought("")


def test_special_tokens_that_mark_a_thought_are_recognised() -> None:
    assert all(map(is_thought_token, ("<think>", "</think>", "[THINK]", "<|channel|>", "<unused95>", "<|channel>")))
    assert not any(map(is_thought_token, ("<s>", "</s>", "<image>", "<|end|>", "<unused9>", "<|im_end|>")))
    assert belongs_to_marks("<|end|>")
    assert not belongs_to_marks("<|im_end|>")


@given(st.text(max_size=60), st.sampled_from(sorted(FORMS)), st.text("abc ?\n", max_size=20))
def test_splitting_is_idempotent_and_reversible(answer: str, form: str, thought: str) -> None:
    came = Prediction(sample_id="1", text=FORMS[form].format(thought, answer))
    apart = separate(came)
    assert separate(apart) == apart
    assert separate(apart, "keep") == separate(came, "keep") == came


@given(st.text(max_size=40), st.integers(0, 40))
def test_any_text_is_split_without_an_error(text: str, place: int) -> None:
    for mark in ("<think>", "</think>", "[THINK]", "<|channel|>final<|message|>", "<unused95>"):
        found = split(text[:place] + mark + text[place:])
        assert found.found
        assert not (found.is_cut and found.answer)


@pytest.mark.parametrize("text", ["<think>a</think>", "</think>", "Yes</think>", "Yes [/THINK]\n", "<think></think> "])
def test_a_thought_with_nothing_after_it_is_no_answer(text: str) -> None:
    assert separate(Prediction(sample_id="1", text=text, finish_reason="length")).is_cut
    for finish in ("stop", "unknown"):
        alone = separate(Prediction(sample_id="1", text=text, finish_reason=finish))
        assert (alone.text, alone.error, alone.failed, alone.raw) == (None, REASONING_ALONE, True, text)
        assert separate(alone) == alone
        assert separate(alone, "keep").text == text


def test_a_thought_in_a_field_of_its_own_with_an_empty_text_is_no_answer() -> None:
    assert separate(Prediction(sample_id="1", text="", finish_reason="length")).text == ""
    assert separate(Prediction(sample_id="1", text="", finish_reason="stop")).text == ""
    assert separate(Prediction(sample_id="1", text=" ", reasoning="a", finish_reason="length")).is_cut
    assert separate(Prediction(sample_id="1", text=" ", reasoning="a", finish_reason="stop")).error == REASONING_ALONE


def of_run(*answers: tuple[str, str]) -> list[Prediction]:
    made = [separate(Prediction(sample_id="1", text=t, finish_reason=f)) for t, f in answers]  # type: ignore[arg-type]
    found = PackedPredictions.of(made)
    assert cut_unmarked(found) == sum(a != b for a, b in zip(made, found, strict=True))
    assert not cut_unmarked(found)
    return list(found)


@pytest.mark.parametrize(
    ("other", "finish", "is_cut"),
    [
        ("a</think>CT", "length", True),
        ("a</think>CT", "stop", False),
        ("a</think>CT", "unknown", False),  # one of each: no majority
        ("<think>a</think>CT", "length", False),  # the model opens its thought itself
        ("CT", "length", False),
        ("a[/THINK]CT", "length", True),
    ],
)
def test_an_answer_without_a_mark_is_cut_where_others_show_that_the_template_opens_the_thought(
    other: str, finish: str, is_cut: bool
) -> None:
    first, second = of_run(("So it could be MRI or", finish), (other, "stop"))
    assert first.is_cut == is_cut
    assert first.raw == ("So it could be MRI or" if is_cut else None)
    assert second.text == "CT"


def test_where_no_finish_reason_is_known_the_majority_decides() -> None:
    inside = [("a</think>CT", "unknown")] * 3
    assert [p.is_cut for p in of_run(*inside, ("MRI or", "unknown"))] == [False, False, False, True]
    assert not any(p.is_cut for p in of_run(inside[0], ("MRI", "unknown"), ("CT", "unknown")))
    kept = [Prediction(sample_id="1", text=text) for text, _ in (*inside, ("MRI or", ""))]
    assert not cut_unmarked(PackedPredictions.of(kept), "keep")


def test_reasoning_of_the_server_is_kept_beside_that_of_the_text() -> None:
    made = separate(Prediction(sample_id="1", text="<think>b</think>CT", reasoning="a"))
    assert (made.text, made.reasoning) == ("CT", "a\n\nb")


@pytest.mark.parametrize(
    "unit",
    [
        "<", "< ", "[ ", "<think ", "<think a=", "<think>", "</think>x", "<think>x</think>", "<|channel|>", "\n",
        "<|channel|>final<|message|>", "analysis", "assistantfinal", "## Thinking\n", "<think>x</think></think>",
        "&lt;", "<|channel|>analysis<|message|>x<|end|>",
    ],
)  # fmt: skip
@pytest.mark.few(5)
def test_time_is_proportional_to_the_length(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * (length // len(unit) + 1))[:length]
        best = 1e9
        for _ in range(2):
            started = time.thread_time()
            split(text)
            split(text, opened=True)
            best = min(best, time.thread_time() - started)
        return best

    # Quadratic time would be 64 times as long.
    assert seconds(160_000) < 30 * seconds(20_000) + 0.05
