"""Probe cases about multiple choice, in order of precedence.

E
ch is an answer beside one that every reading takes for a wrong option, so that the effect is the answer's own score.
"""

from __future__ import annotations

from collections.abc import Iterator

CHOICE_KIND = "choice"
# A text that is inside of another one, and one that begins with the article A.
CHOICE_OPTIONS = ("CT", "MRI", "A small mass", "chest CT")
_WRONG = {gold: "ANSWER: B" if gold != "MRI" else "ANSWER: D" for gold in CHOICE_OPTIONS}

_ANSWERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("empty answer", "empty", ("",)),
    ("an answer of signs alone", "signs", (".", "()", "-")),
    ("a letter that is no option", "other letter",
     ("E", "(E)", "Answer: E", "The answer is E", "E. CT", "E) chest CT", "it is E MRI", "T2 MRI", "Type Z")),
    ("states two options", "two letters",
     ("A or B", "A, not B", "B, not A", "A B", "C or D", "D, not C", "(A) or (B)", "(C), not (D)", "A. CT\nB. MRI",
      "A: CT\nB: MRI\nAnswer: B", "A. CT\nB. MRI\nThe answer is D", "B. MRI, as A. CT is dark",
      "Answer: A\nAnswer: B",
      "The answer is C, not A", "A. no\nC. yes\nAnswer: C", "D is right, as A has no fat in it at all",
      "ANSWER: B, not C", "ANSWER: A or D", "C\n\nB is wrong here because of the fat", "(A) CT (B) MRI so A",
      "A CT or B MRI", "it is B and not C")),
    ("states two options", "two options",
     ("CT or MRI", "CT MRI", "not CT but MRI", "A. MRI", "B. CT", "B) CT", "Answer: A. MRI", "MRI, not chest CT",
      "The answer is MRI, not CT or so", "so it is MRI and not a chest CT", "The answer is B) CT", "D. MRI of it")),
    ("A or I is a word of the sentence", "article",
     ("A lesion", "A mass is seen in it", "It is seen. A mass is in the left of it", "A CT", "A chest CT",
      "A MRI of it",
      "A small mass", "A small mass is in the liver there", "I think B", "A mass, so the answer is B", "A mass: (B)",
      "Answer: A small mass", "The answer is A mass")),
    ("a small letter", "small letter", ("b", "b.", "(b)", "b) mri", "the answer is a.", "it is bright. answer: a",
     "answer: b", "The answer is b", "d", "(c)", "a",
     "(a)")),
    ("Chinese marks or full-width letters", "wide",
     ("Ｂ", "答案：B", "答案: B", "选B", "答案是B。", "B选项", "（Ｂ）", "答案：CT", "答案：D", "选D", "B。",
      "是 CT")),
    ("a letter in brackets, bold or boxed", "wrapped",
     ("**B**", "(B)", "[B]", "{B}", "'B'", "\\boxed{B}", "<answer>B</answer>", "The answer is **B**",
      "\\boxed{\\text{B}}",
      "**B.** MRI", "(B) MRI", "The answer is \\boxed{D}", "<answer>D</answer>", "**Answer**: B", "**D**", "$B$",
      "The answer is (B), as fat is bright in it and there", "**The answer is B**", "so \\boxed{CT}",
      "<answer>MRI</answer>")),
    ("a letter far from the end", "early letter",
     ("B because fat is bright in it", "B. fat is bright in it and there", "D\n\nthe fat is bright in it and there",
      "B) it is bright in it and there", "The answer is B because fat is bright in it",
      "Answer: B. Fat is bright in it there",
      "The answer is D. Fat is bright in it and there", "option B is the correct one of these",
      "B: fat is bright in it there")),
    ("a letter with words around it", "letter and words",
     ("B. MRI", "B) MRI", "B: MRI", "B MRI", "B - MRI", "option B", "Option B is correct", "it is B.", "so B",
      "I say: B",
      "D. chest CT", "D) chest CT", "D chest CT", "the letter B", "The answer is B.", "The answer is B",
      "The answer is B\n", "The answer is A\n", "Answer: A\n", "it is A", "The answer is A.", "Answer: B",
      "ANSWER: B", "Answer: B. MRI", "The answer is B) MRI", "Answer: D. chest CT", "fat\n\nB. MRI", "fat\n\nB",
      "fat is bright in it. B", "type B", "grade D", "D. it is", "fat is bright. B. MRI", "the answer: B",
      "seen in B there")),
    ("a letter alone", "letter", ("B", "B.", "D", "D.", "B,", "B:", "A", "B)", "D)", "B\n", "D.\n", "B!", "D!",
     " B", "C!", "C)", "A)", "A!", "A\n")),
    ("a capital of a word is a letter", "capitals",
     ("a DICOM", "see the Aorta", "the Body", "Cannot tell", "Do not know", "Bone", "No DNA there",
      "In the Brain it is",
      "Fat is bright in the Chest of it", "the mass of the Abdomen", "MRA", "ECG", "DNA strand", "USB.",
      "I do not know it",
      "Cannot determine the answer", "Cannot determine the answer\n\nD", "T2 MRI", "the MRI", "it is a CT of it",
      "chest CT of it in all of this")),
    ("the text of one option inside of another's", "inner text",
     ("chest CT", "it is a chest CT", "so this is one more chest CT of it", "The answer is chest CT", "chest ct")),
    ("the text of an option among other words", "text in words",
     ("it is an mri", "mri of it", "so this here is an mri of it", "The answer is MRI", "Answer: MRI",
      "the ct of it there",
      "this is one more ct of it in all", "a small mass in it", "so this is a small mass of it", "MRI scan")),
    ("the text of an option", "text", ("The CT", "MRI\n", "mri", "MRI", "ct", "CT", "MRI.", "a small mass",
     "A small mass", "An MRI")),
    ("states no option", "nothing",
     ("no idea", "fat", "it is so", "so it is not seen in it at all", "fat is in it, as is said there", "mr imaging",
      "small", "ches", "a mass", "none of these", "it is in the chest", "boxed", "m")),
)  # fmt: skip


def _cases() -> Iterator[tuple[str, str, tuple[tuple[str, str, str, str, str], ...]]]:
    for cause, feature, answers in _ANSWERS:
        yield (
            cause,
            feature,
            tuple((CHOICE_KIND, "", gold, answer, _WRONG[gold]) for answer in answers for gold in CHOICE_OPTIONS),
        )


CASES = tuple(_cases())
