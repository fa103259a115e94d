"""Tables for LaTeX: escaped, with as many columns as headings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.reports.latex import Raw, escape, table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("plain", "plain"),
        ("50 %", r"50 \%"),
        ("a_b & c#d $e$", r"a\_b \& c\#d \$e\$"),
        ("\\end{table}", r"\textbackslash{}end\{table\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("a\n\tb  c", "a b c"),
        ("a\x00\x07b", "ab"),
        ("---", r"-\/-\/-"),
        ("a,, ''b", r"a,\/, '\/'b"),
        ("1–2 × 3", r"1--2 $\times$ 3"),
        ("a<b>c|d", r"a\textless{}b\textgreater{}c\textbar{}d"),
        ("中文 é", "中文 é"),
        ("e\u0301", "é"),
    ],
)
def test_every_sign_that_latex_acts_on_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape(Raw(escaped)) == escaped


@given(st.text())
def test_nothing_in_a_text_reaches_latex_as_a_command_of_its_own(text: str) -> None:
    known = r"\\(?:textbackslash\{\}|textasciitilde\{\}|textasciicircum\{\}|textless\{\}|textgreater\{\}|textbar\{\}"
    known += (
        r"|textasciigrave\{\}|ldots\{\}|[{}$&#_%/])|\$(?:-|\\(?:times|pm|neq|leq|geq|cdot|rightarrow|kappa))\$|\{\}"
    )
    left = re.sub(known, "", escape(text))
    assert not set(left) & set("\\{}$&#_%~^\n\r\0")


def test_a_long_heading_is_broken_between_its_words() -> None:
    head = next(line for line in table(["a", "long_name [of] *two", "b"], []).splitlines() if "&" in line)
    assert head == r"a & \shortstack[r]{long\_name\\{}[of] *two} & b \\"


def test_a_table_has_booktabs_rules_caption_label_and_notes() -> None:
    text = table(["a", "b"], [["x_1", "2"], None, ["[y", "3"]], caption="50 %", label="tab:a", notes=["n & m"])
    assert text.splitlines() == [
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\caption{50 \%}", r"\label{tab:a}",
        r"\begin{tabular}{lr}", r"\toprule", r"a & b \\", r"\midrule", r"x\_1 & 2 \\", r"\midrule", r"{}[y & 3 \\",
        r"\bottomrule", r"\end{tabular}", r"\par\footnotesize n \& m", r"\end{table}",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "missing"), [("é × κ — §", ""), ("中文", "中文"), ("β \U0001f600", "β\U0001f600")])
def test_letters_that_pdflatex_lacks_are_named_above_the_table(name: str, missing: str) -> None:
    lines = table(["a", "b"], [[name, "1"]]).splitlines()
    assert lines[1] == (f"% needs XeLaTeX or LuaLaTeX and a font that has {missing}" if missing else r"\begin{table}")


@pytest.mark.parametrize(("row", "align"), [(["x"], ""), (["x", "y", "z"], ""), (["x", "y"], "lrr")])
def test_a_row_of_another_width_is_refused(row: list[str], align: str) -> None:
    with pytest.raises(ValueError, match="2 columns"):
        table(["a", "b"], [row], align)
