"""Probe cases about option letters, empty answers and the reading of verdicts, in order of precedence.

Each entry: a cause, the feature of the samples that it explains, and its cases (see `probe_cases.Case`).
"""

from __future__ import annotations

CASES: tuple[tuple[str, str, tuple[tuple[str, str, str, str, str], ...]], ...] = (
    (
        "the letter of an option",
        "no letter",
        (
            ("yes", "", "yes", "yes", "(B) yes"),
            ("no", "", "no", "no", "(B) no"),
            ("option", "", "left", "left", "(B) left"),
            ("yes", "", "yes", "no", "(C) no"),
            ("no", "", "no", "yes", "(C) yes"),
            ("option", "", "left", "right", "(C) right"),
        ),
    ),
    (
        "the letter of an option",
        "letter",
        (
            ("yes", "", "yes", "(B)", "(C)"),
            ("no", "", "no", "(B)", "(C)"),
            ("option", "", "left", "(B)", "(C)"),
            ("yes", "", "yes", "(C)", "(B)"),
            ("no", "", "no", "(C)", "(B)"),
            ("option", "", "left", "(C)", "(B)"),
        ),
    ),
    (
        "empty answer",
        "empty",
        (
            ("yes", "", "yes", "", "no"),
            ("no", "", "no", "", "yes"),
            ("option", "", "left", "", "right"),
            ("open", "", "lung", "", "spleen"),
        ),
    ),
    (
        "role prefix",
        "role",
        (
            ("yes", "", "yes", "Assistant: yes", "yes"),
            ("no", "", "no", "Assistant: no", "no"),
            ("option", "", "left", "Assistant: left", "left"),
            ("open", "", "lung", "Assistant: lung", "lung"),
        ),
    ),
    (
        "both yes and no",
        "both",
        (
            ("yes", "both", "yes", "yes and no", "yes and so"),
            ("no", "both", "no", "yes and no", "so and no"),
            ("no", "both", "no", "yes and no", "yes and so"),
            ("yes", "both", "yes", "yes and no", "so and no"),
            ("yes", "both", "yes", "no and yes", "so and yes"),
            ("no", "both", "no", "no and yes", "no and so"),
            ("no", "both", "no", "no and yes", "so and yes"),
            ("yes", "both", "yes", "no and yes", "no and so"),
        ),
    ),
    (
        "cannot tell",
        "doubt",
        (("yes", "neither", "yes", "cannot be determined", "no"),
         ("no", "neither", "no", "cannot be determined", "yes")),
    ),
    (
        "no inside another word",
        "hidden no",
        (
            ("yes", "yes", "yes", "yes, normal heart", "yes, small heart"),
            ("no", "neither", "no", "normal heart", "small heart"),
            ("no", "yes", "no", "yes, normal heart", "yes, small heart"),
            ("yes", "neither", "yes", "normal heart", "small heart"),
            ("option", "", "left", "left, normal heart", "left, small heart"),
            ("option", "", "left", "right, normal heart", "right, small heart"),
        ),
    ),
    (
        "yes inside another word",
        "hidden yes",
        (
            ("no", "no", "no", "no, the eyes", "no, the ears"),
            ("yes", "neither", "yes", "the eyes", "the ears"),
            ("yes", "no", "yes", "no, the eyes", "no, the ears"),
            ("option", "", "left", "left, the eyes", "left, the ears"),
            ("option", "", "left", "right, the eyes", "right, the ears"),
        ),
    ),
    (
        "a negation other than no",
        "negation",
        (
            ("no", "neither", "no", "there is not a mass", "there is still a mass"),
            ("yes", "neither", "yes", "there is not a mass", "there is still a mass"),
            ("no", "yes", "no", "yes, not large", "yes, quite large"),
            ("yes", "yes", "yes", "yes, not large", "yes, quite large"),
            ("option", "", "left", "right, not left", "right, and left"),
            ("no", "neither", "no", "not", "mass"),
            ("no", "neither", "no", "none", "mass"),
        ),
    ),
    (
        "no of something else",
        "no of a noun",
        (("no", "no", "no", "no abnormality seen", "no, as seen"),
         ("yes", "no", "yes", "no abnormality seen", "no, as seen")),
    ),
    (
        "said after the first sentence",
        "sentences",
        (
            ("no", "no", "no", "The heart is small. No.", "No. The heart is small."),
            ("yes", "no", "yes", "The heart is small. No.", "No. The heart is small."),
            ("no", "neither", "no", "The heart is small. Not so.", "Not so. The heart is small."),
            ("yes", "neither", "yes", "The heart is small. Not so.", "Not so. The heart is small."),
            ("yes", "both", "yes", "The heart is small. No.", "No. The heart is small."),
        ),
    ),
    (
        "restates the question",
        "restates",
        (("yes", "neither", "yes", "there is a mass", "there is a cat"),
         ("no", "neither", "no", "there is a mass", "there is a cat")),
    ),
    (
        "another word for yes or no",
        "synonym",
        (("yes", "neither", "yes", "true", "no"),
         ("no", "neither", "no", "false", "yes"),
         ("yes", "neither", "yes", "yeah", "no"),
         ("no", "neither", "no", "nope", "yes")),
    ),
    (
        "neither yes nor no said",
        "any",
        (
            ("yes", "neither", "yes", "small heart", "no"),
            ("no", "neither", "no", "small heart", "yes"),
            ("yes", "neither", "yes", "small heart", "no, small heart"),
        ),
    ),
    (
        "a closed row without yes or no",
        "gold in it",
        (("option", "neither", "left", "left", "right"),),
    ),
    ("names several options", "several options", (("option", "", "left", "left and right", "left and so"),)),
    (
        "names none of the options",
        "any",
        (("option", "", "left", "small heart", "right"),),
    ),
    (
        "a miss that is not counted",
        "any",
        (("yes", "no", "yes", "no", "small heart"), ("no", "yes", "no", "yes", "small heart"),
         ("option", "yes", "left", "yes", "small heart"), ("option", "no", "left", "no", "small heart")),
    ),
)  # fmt: skip
