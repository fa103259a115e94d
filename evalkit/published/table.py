"""Types of published tables: figure, system (row) and table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

REGIMES = ("zero-shot", "fine-tuned", "trained-on-this-split", "unknown")
CONFIDENCES = ("high", "medium", "low")
# Unit of a printed value -> (printed value of the fraction 1, highest possible value).
UNITS = {"percent": (100, Decimal(100)), "fraction": (1, Decimal(1)), "relative": (100, None)}
# Metrics that are a share of rows: with n rows their values are counts divided by n.
COUNTED = frozenset({"accuracy", "closed_accuracy", "open_accuracy", "exact_match", "judged_accuracy"})
# The split of a figure whose paper does not say on which rows it is: no run is its run.
NOT_STATED = "not stated"
UNIT_NAMES = {"percent": "percentage", "fraction": "fraction", "relative": "relative score"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Source of figures.  read: where they were read.  confidence in the digits: high, medium or low."""

    read: str
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One cell of a paper's table.

    protocol: the scoring protocol, one of evalkit's, judge:NAME for one of its judges, or one of the table's `foreign`,
    which evalkit cannot compute.
    split: the task's, or NOT_STATED.
    slice: as in a run's summary, all or TAG=VALUE.  value: as printed, in `unit`: percent, fraction, or relative (a
    percentage of a reference's score, which may exceed 100).  low, high: the interval, if the paper prints one.
    n: number of rows of the metric, if the paper states it.  k: number of correct answers, if value and n determine it.
    regime: the model's exposure to the dataset, given per cell, because a model may be fine-tuned on a dataset and
    evaluated on the split that it was trained on.  train: a key of the table's `trains`, given for every fine-tuned
    model.  epochs: number of epochs on those rows.  replicates: number of runs or resamples that the value is the mean
    of.  source, faults: keys of the table's `sources` and `faults`.
    not_reproducible: the reason why the value cannot be reproduced; "" if no reason is known.
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
        """Number of printed digits after the decimal point."""
        return len(self.value.partition(".")[2])

    @property
    def scale(self) -> int:
        """The printed value of the fraction 1."""
        return UNITS[self.unit][0]

    @property
    def fraction(self) -> float:
        """The value as a fraction, as in the files of a run."""
        return float(Decimal(self.value) / self.scale)

    @property
    def attainable(self) -> bool:
        """Whether some number of correct answers out of n prints as the value; True if that cannot be determined."""
        if self.n is None or self.metric not in COUNTED or self.unit != "percent":
            return True
        return len(candidates(self.value, self.n * self.replicates)) > 0

    def prints(self, fraction: float) -> str:
        """A fraction in the unit and precision of the printed value."""
        return printed(fraction, self.decimals, self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row of a paper's table: a model in one training regime.

    id: the model name of a run that reproduces the row.  lora: tuned by low-rank adaptation.  extra_data: initialised
    from weights that were trained on extra data.  public_weights: whether the weights are public.  None: not stated in
    the paper.  table: the table of the paper, if it differs from that of the file.  average: the mean of its figures,
    if the paper prints it; used only to check the digits.
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

    sources: the sources of figures.  trains: exact train splits.  faults: known errors of figures.  foreign: protocols
    that evalkit cannot compute, each with its rule and the reason.  judges: protocol judge:NAME -> the model whose
    judgments the figures are, where it is known.  notes: facts that affect all figures.  dependent: why the rows are
    not independent (frames of videos), so that no interval can be made from a figure and its n; empty where they nearly
    are.  All keys are names inside the file.
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
    judges: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dependent: str = ""

    def faults_of(self, system: System, figure: Figure) -> tuple[str, ...]:
        """Texts of the known errors of a figure: its own faults, then those of its row."""
        return tuple(self.faults[key] for key in dict.fromkeys((*figure.faults, *system.faults)))

    def why_not(self, system: System, figure: Figure) -> str:
        """The reason why the value of a figure cannot be reproduced; "" if no reason is known."""
        return figure.not_reproducible or system.not_reproducible


def candidates(value: str, n: int) -> range:
    """The numbers of correct answers out of n that print as this percentage (halves rounded up).

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
    """A fraction times `scale` (100 for a percentage) with `decimals` digits, halves rounded up, as tables print it.

    >>> printed(8379 / 8929, 2), printed(0.5, 1), printed(0.5354, 3, scale=1)
    ('93.84', '50.0', '0.535')
    """
    return str((Decimal(repr(float(fraction))) * scale).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))
