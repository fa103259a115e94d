"""What a published figure, row and table are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

REGIMES = ("zero-shot", "fine-tuned", "trained-on-this-split", "unknown")
CONFIDENCES = ("high", "medium", "low")
# What a value is printed in -> (what 1 as a fraction prints as, the most that it can be).
UNITS = {"percent": (100, Decimal(100)), "fraction": (1, Decimal(1)), "relative": (100, None)}
# Metrics that are a share of rows: their values at n rows are counts out of n.
COUNTED = frozenset({"accuracy", "closed_accuracy", "open_accuracy", "exact_match"})
UNIT_NAMES = {"percent": "percentage", "fraction": "fraction", "relative": "relative score"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where figures were read.  confidence: that the digits are those of the paper: high, medium or low."""

    read: str
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One cell of a paper's table.

    protocol: how it was counted: one of evalkit's, or one of the table's `foreign`, which evalkit cannot compute.
    slice: as in a run's summary: all, or TAG=VALUE.  value: as printed, in `unit`: percent, fraction, or relative (a
    percentage of a reference's score, which may exceed 100).  low, high: the interval, where the paper prints one.
    n: rows of the metric, where the paper fixes it.  k: right answers, where value and n leave only one.
    regime: how the model had met the set; it is the cell's, because a model may be fine-tuned on a set and evaluated
    on the very split that it was trained on.  train: a key of the table's `trains`, there for every model that was
    fine-tuned.  epochs: on those rows.  replicates: of how many runs it is the mean.  source, faults: keys of the
    table's `sources` and `faults`.
    not_reproducible: why nobody can get this value; "" where nothing speaks against it.
    """

    task: str
    split: str
    protocol: str
    metric: str
    value: str
    regime: str
    source: str
    slice: str = "all"
    unit: str = "percent"
    low: str = ""
    high: str = ""
    n: int | None = None
    k: int | None = None
    train: str = ""
    epochs: int | None = None
    replicates: int = 1
    faults: tuple[str, ...] = ()
    not_reproducible: str = ""

    @property
    def decimals(self) -> int:
        """How many digits the paper prints behind the point."""
        return len(self.value.partition(".")[2])

    @property
    def scale(self) -> int:
        """What 1 as a fraction prints as."""
        return UNITS[self.unit][0]

    @property
    def fraction(self) -> float:
        """The value as a fraction, as files of runs have it."""
        return float(Decimal(self.value) / self.scale)

    @property
    def attainable(self) -> bool:
        """Whether some number of right answers among n prints as the value; True where that cannot be said."""
        if self.n is None or self.metric not in COUNTED or self.unit != "percent":
            return True
        return len(candidates(self.value, self.n * self.replicates)) > 0

    def prints(self, fraction: float) -> str:
        """A run's fraction as the paper would print it."""
        return printed(fraction, self.decimals, self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row of a paper's table: a model in one training regime.

    id: what a run's model is called that reproduces the row.  lora: tuned by low-rank adaptation.  extra_data: starts
    from weights that were trained on extra data.  public_weights: whether anyone can run it.  None: the paper does not
    say.  table: which table of the paper it is in, where that is not the file's.  average: the mean of its figures,
    where the paper prints it; only a check of the digits.
    """

    id: str
    label: str
    model: str
    figures: tuple[Figure, ...]
    table: str = ""
    encoder: str = ""
    llm: str = ""
    lora: bool | None = None
    extra_data: bool | None = None
    public_weights: bool | None = None
    average: str = ""
    faults: tuple[str, ...] = ()
    not_reproducible: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A paper's table.

    sources: where figures were read.  trains: exact train splits.  faults: what is known to be wrong with figures.
    foreign: protocols that evalkit cannot compute, each with how it counts and why not.  notes: what a reader of any of
    its figures must know.  All keys are names inside the file.
    """

    name: str
    paper: str
    version: str
    url: str
    table: str
    sources: Mapping[str, Source]
    systems: tuple[System, ...]
    trains: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def faults_of(self, system: System, figure: Figure) -> tuple[str, ...]:
        """What is known to be wrong with a figure, in words: its own faults, then its row's."""
        return tuple(self.faults[key] for key in dict.fromkeys((*figure.faults, *system.faults)))

    def why_not(self, system: System, figure: Figure) -> str:
        """Why nobody can get a figure's value; "" where nothing speaks against it."""
        return figure.not_reproducible or system.not_reproducible


def candidates(value: str, n: int) -> range:
    """The numbers of right answers among n that print as this percentage (halves rounded up).

    >>> list(candidates("93.84", 8929)), len(candidates("77.38", 45284)), list(candidates("93.83", 100))
    ([8379], 5, [])
    """
    printed = Decimal(value)
    half = Decimal(5).scaleb(-len(value.partition(".")[2]) - 1)
    low, high = (printed - half) * n / 100, (printed + half) * n / 100
    first = int(low.to_integral_value(rounding="ROUND_CEILING"))
    last = int(high.to_integral_value(rounding="ROUND_CEILING"))
    return range(max(0, first), min(last, n + 1))


def printed(fraction: float, decimals: int, scale: int = 100) -> str:
    """A fraction times `scale` (100: as a percentage) with this many decimals, halves rounded up, as tables print it.

    >>> printed(8379 / 8929, 2), printed(0.5, 1), printed(0.5354, 3, scale=1)
    ('93.84', '50.0', '0.535')
    """
    return str((Decimal(repr(float(fraction))) * scale).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))
