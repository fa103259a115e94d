"""The phantoms: what is in each image (`Scene`), and the drawing of it.

Everything follows from the member's name, "SEED/SPLIT/INDEX", through SHA-256 and the raw words of PCG64, with integer
arithmetic only, so that the pixels are the same bytes on every machine and with every version of NumPy (whose
distributions, unlike its raw bit streams, may change between releases).

Sides are the patient's, as a radiologist reads them: the patient's left is at the right edge of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MODALITIES = ("CT", "MRI", "X-Ray")
ORGANS = ("Lung", "Kidney", "Brain")
SHAPES = ("Round", "Ring", "Square")
SLOTS = (("Left", "Upper"), ("Left", "Lower"), ("Right", "Upper"), ("Right", "Lower"))

# Lengths are in 64ths of the image's short side.
_BODY = {"Lung": (29, 26), "Kidney": (30, 23), "Brain": (25, 29)}
_LARGE_ORGAN = {"Lung": (10, 18), "Kidney": (9, 13), "Brain": (10, 20)}
_SMALL_ORGAN = {"Lung": (7, 12), "Kidney": (6, 8), "Brain": (7, 13)}
_ORGAN_OFFSET = 13
_SLOT_OFFSET = (13, 11)
_LESION_RADIUS = {"Small": 4, "Large": 7}

# Grey levels of the tissue around the organ and of the organ itself.
_LEVELS = {"Lung": (150, 95), "Kidney": (95, 145), "Brain": (105, 130)}
_LESION_CONTRAST = 80

_T = TypeVar("_T")


class Dice:
    """Seeded choices whose sequence can never change: SHA-256 of the key and a counter."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._thrown = 0

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        self._thrown += 1
        digest = hashlib.sha256(f"{self._key}#{self._thrown}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % n

    def pick(self, items: Sequence[_T]) -> _T:
        """One of `items`, each as likely."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """`items` in a random order (Fisher-Yates)."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is to be seen in one image.  Lesions of one image share shape, size and brightness.

    width, height: pixels.  larger: side of the larger organ of the pair.  lesions: occupied slots as (side, row).
    clip: where on the midline a metal clip lies ("Top" or "Bottom"), None without one.
    """

    member: str
    width: int
    height: int
    mode: str
    modality: str
    organ: str
    larger: str
    lesions: tuple[tuple[str, str], ...]
    shape: str
    size: str
    brightness: str
    clip: str | None

    def has_lesion(self, side: str) -> bool:
        """Whether any lesion lies on this side of the patient."""
        return any(where == side for where, _ in self.lesions)


def scene(member: str) -> Scene:
    """The scene called `member` ("SEED/SPLIT/INDEX", e.g. "0/test/17").  Raises DataError for any other name."""
    parts = member.split("/")
    if len(parts) != 3 or parts[1] not in ("train", "test") or not (parts[0].isdecimal() and parts[2].isdecimal()):
        raise DataError(f"phantom image {member!r}: expected SEED/SPLIT/INDEX with SPLIT train or test, as 0/test/17")
    dice = Dice(f"phantom scene {member}")
    width, height = dice.pick(((64, 64), (72, 72), (80, 72), (72, 80), (80, 80), (70, 64), (64, 71)))
    count = dice.below(4)
    return Scene(
        member=member,
        width=width,
        height=height,
        mode=dice.pick(("L", "L", "RGB")),
        modality=dice.pick(MODALITIES),
        organ=dice.pick(ORGANS),
        larger=dice.pick(("Left", "Right")),
        lesions=tuple(sorted(dice.shuffled(SLOTS)[:count])),
        shape=dice.pick(SHAPES),
        size=dice.pick(("Small", "Large")),
        brightness=dice.pick(("Brighter", "Darker")),
        clip=dice.pick((None, None, "Top", "Bottom")),
    )


def draw(member: str) -> Image:
    """The image called `member`: PIL, mode L or RGB, 64 to 80 pixels a side.  Raises DataError for an unknown name."""
    import numpy as np
    from PIL import Image

    what = scene(member)
    canvas = _Canvas(what)
    canvas.anatomy()
    canvas.lesions()
    canvas.modality()
    canvas.clip()
    grey = np.clip(canvas.levels, 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([grey] * 3, axis=-1) if what.mode == "RGB" else grey)


class _Canvas:
    """Grey levels being drawn, int64 of shape (height, width), and where the body lies on them."""

    def __init__(self, what: Scene) -> None:
        import numpy as np

        self.what = what
        self.dice = Dice(f"phantom drawing {what.member}")
        self.unit = min(what.width, what.height)
        self.x = np.arange(what.width, dtype=np.int64)[None, :]
        self.y = np.arange(what.height, dtype=np.int64)[:, None]
        self.cx = what.width // 2 + self.jitter(2)
        self.cy = what.height // 2 + self.jitter(2)
        a, b = _BODY[what.organ]
        self.body_a, self.body_b = self.px(a - self.dice.below(3)), self.px(b - self.dice.below(3))
        self.body = self.ellipse(self.cx, self.cy, self.body_a, self.body_b)
        self.levels: Any = np.zeros((what.height, what.width), dtype=np.int64)

    def px(self, length: int) -> int:
        """64ths of the short side to pixels, rounded half up."""
        return (2 * length * self.unit + 64) // 128

    def jitter(self, most: int) -> int:
        return self.dice.below(2 * most + 1) - most

    def ellipse(self, cx: int, cy: int, a: int, b: int) -> Any:
        """Mask (height, width) of the ellipse with half axes a (across) and b (down), pixels."""
        return ((self.x - cx) * b) ** 2 + ((self.y - cy) * a) ** 2 <= (a * b) ** 2

    def box(self, cx: int, cy: int, a: int, b: int) -> Any:
        """Mask (height, width) of the rectangle with half sides a and b, pixels."""
        return (abs(self.x - cx) <= a) & (abs(self.y - cy) <= b)

    def side_x(self, side: str, offset: int) -> int:
        """Column of a point `offset` off the midline: the patient's left is on the image's right."""
        return self.cx + (self.px(offset) if side == "Left" else -self.px(offset))

    def anatomy(self) -> None:
        organ = self.what.organ
        tissue, level = _LEVELS[organ]
        self.levels[self.body] = tissue + self.jitter(8)
        for side in ("Left", "Right"):
            a, b = (_LARGE_ORGAN if side == self.what.larger else _SMALL_ORGAN)[organ]
            x = self.side_x(side, _ORGAN_OFFSET)
            self.levels[self.ellipse(x, self.cy, self.px(a), self.px(b)) & self.body] = level
            if organ == "Kidney":  # the renal pelvis, towards the midline
                pelvis = self.ellipse(self.side_x(side, _ORGAN_OFFSET - 4), self.cy, self.px(2), self.px(4))
                self.levels[pelvis] = level - 60
        if organ == "Brain":  # the fissure between the hemispheres
            self.levels[self.box(self.cx, self.cy, self.px(1), self.px(22)) & self.body] = 40

    def lesions(self) -> None:
        around = _LEVELS[self.what.organ]
        brighter = self.what.brightness == "Brighter"
        level = max(around) + _LESION_CONTRAST if brighter else min(around) - _LESION_CONTRAST
        r = self.px(_LESION_RADIUS[self.what.size])
        for side, row in self.what.lesions:
            x = self.side_x(side, _SLOT_OFFSET[0]) + self.jitter(2)
            y = self.cy + (-1 if row == "Upper" else 1) * self.px(_SLOT_OFFSET[1]) + self.jitter(2)
            mask = self.box(x, y, r, r) if self.what.shape == "Square" else self.ellipse(x, y, r, r)
            self.levels[mask & self.body] = level
            if self.what.shape == "Ring":
                self.levels[self.ellipse(x, y, (r + 1) // 2, (r + 1) // 2)] = around[1]

    def modality(self) -> None:
        {"CT": self.as_ct, "MRI": self.as_mri, "X-Ray": self.as_xray}[self.what.modality]()

    def as_ct(self) -> None:
        """Bone bright, air black, the table below, little noise."""
        inner = self.ellipse(self.cx, self.cy, self.body_a - self.px(2), self.body_b - self.px(2))
        self.levels[self.body & ~inner] = 245
        table = self.box(self.cx, self.cy + self.body_b + self.px(2), self.px(18), 0)
        self.levels[table & ~self.body] = 130
        self.levels = self.levels + self.noise(5)

    def as_mri(self) -> None:
        """Bright fat around dark bone, the coil's shading across the image, strong noise."""
        fat = self.ellipse(self.cx, self.cy, self.body_a - self.px(2), self.body_b - self.px(2))
        bone = self.ellipse(self.cx, self.cy, self.body_a - self.px(4), self.body_b - self.px(4))
        self.levels[self.body & ~fat] = 215
        self.levels[fat & ~bone] = 20
        across = self.x if self.dice.below(2) else self.what.width - 1 - self.x
        self.levels = self.levels * (75 + 50 * across // self.what.width) // 100 + self.noise(10)

    def as_xray(self) -> None:
        """A projection: haze everywhere, ribs and spine over the organs, half the contrast."""
        rib = (self.y + self.dice.below(8)) % self.px(9) < 2
        spine = abs(self.x - self.cx) <= self.px(3)
        self.levels = self.levels + 25 * (rib & self.body) + 30 * (spine & self.body)
        self.levels = 50 + self.levels * 6 // 10 + self.noise(5)

    def clip(self) -> None:
        """A metal cross on the midline, saturated in every modality."""
        if self.what.clip is None:
            return
        y = self.cy + (-1 if self.what.clip == "Top" else 1) * self.px(16) + self.jitter(1)
        self.levels[self.box(self.cx, y, self.px(4), self.px(4))] = 0
        self.levels[self.box(self.cx, y, self.px(3), 1) | self.box(self.cx, y, 1, self.px(3))] = 255

    def noise(self, sigma: int) -> Any:
        """Roughly Gaussian whole numbers (height, width): the sum of the eight bytes of a raw PCG64 word."""
        import numpy as np

        seed = int.from_bytes(hashlib.sha256(f"phantom noise {self.what.member}".encode()).digest()[:8], "big")
        words = np.random.PCG64(seed).random_raw(self.what.width * self.what.height)
        sums = words.view(np.uint8).reshape(self.what.height, self.what.width, 8).sum(axis=-1, dtype=np.int64)
        return (sums - 1020) * sigma // 209  # eight uniform bytes: mean 1020, standard deviation 209
