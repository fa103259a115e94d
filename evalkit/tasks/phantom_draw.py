"""Phantom images: the content of each image (`Scene`) and its drawing.

Everything follows from the name of the member, "SEED/SPLIT/INDEX", through SHA-256 and the raw words of PCG64, with
integer arithmetic only, so that the pixels are the same bytes on every machine and with every version of NumPy (whose
distributions, unlike its raw bit streams, may change between releases).

Sides are those of the patient, in radiological convention: the patient's left is at the right edge of the image.
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
    """Seeded random choices with a fixed sequence: SHA-256 of the key and a counter."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._count = 0

    def below(self, n: int) -> int:
        """A uniform integer in [0, n)."""
        self._count += 1
        digest = hashlib.sha256(f"{self._key}#{self._count}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % n

    def pick(self, items: Sequence[_T]) -> _T:
        """One of `items`, uniformly."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """`items` in a random order (Fisher-Yates)."""
        remaining = list(items)
        return [remaining.pop(self.below(len(remaining))) for _ in range(len(remaining))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The content of one image.  Lesions of one image share shape, size and brightness.

    width, height: pixels.  larger: side of the larger organ of the pair.  lesions: occupied slots as (side, row).
    clip: position of a metal clip on the midline ("Top" or "Bottom"), None without one.
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


def make_scene(member: str) -> Scene:
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
    """Draw the image named `member`: PIL, mode L or RGB, 64 to 80 pixels a side.  DataError for an invalid name."""
    import numpy as np
    from PIL import Image

    scene = make_scene(member)
    canvas = _Canvas(scene)
    canvas.anatomy()
    canvas.lesions()
    canvas.modality()
    canvas.clip()
    grey = np.clip(canvas.levels, 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([grey] * 3, axis=-1) if scene.mode == "RGB" else grey)


class _Canvas:
    """Grey levels of the drawing, int64 of shape (height, width), and the position of the body."""

    def __init__(self, scene: Scene) -> None:
        import numpy as np

        self.scene = scene
        self.dice = Dice(f"phantom drawing {scene.member}")
        self.unit = min(scene.width, scene.height)
        self.x = np.arange(scene.width, dtype=np.int64)[None, :]
        self.y = np.arange(scene.height, dtype=np.int64)[:, None]
        self.cx = scene.width // 2 + self.jitter(2)
        self.cy = scene.height // 2 + self.jitter(2)
        a, b = _BODY[scene.organ]
        self.body_a, self.body_b = self.px(a - self.dice.below(3)), self.px(b - self.dice.below(3))
        self.body = self.ellipse(self.cx, self.cy, self.body_a, self.body_b)
        self.levels: Any = np.zeros((scene.height, scene.width), dtype=np.int64)

    def px(self, length: int) -> int:
        """Convert 64ths of the short side to pixels, rounded half up."""
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
        """Column of a point `offset` from the midline; the patient's left is on the right of the image."""
        return self.cx + (self.px(offset) if side == "Left" else -self.px(offset))

    def anatomy(self) -> None:
        organ = self.scene.organ
        tissue, level = _LEVELS[organ]
        self.levels[self.body] = tissue + self.jitter(8)
        for side in ("Left", "Right"):
            a, b = (_LARGE_ORGAN if side == self.scene.larger else _SMALL_ORGAN)[organ]
            x = self.side_x(side, _ORGAN_OFFSET)
            self.levels[self.ellipse(x, self.cy, self.px(a), self.px(b)) & self.body] = level
            if organ == "Kidney":  # the renal pelvis, towards the midline
                pelvis = self.ellipse(self.side_x(side, _ORGAN_OFFSET - 4), self.cy, self.px(2), self.px(4))
                self.levels[pelvis] = level - 60
        if organ == "Brain":  # the fissure between the hemispheres
            self.levels[self.box(self.cx, self.cy, self.px(1), self.px(22)) & self.body] = 40

    def lesions(self) -> None:
        around = _LEVELS[self.scene.organ]
        brighter = self.scene.brightness == "Brighter"
        level = max(around) + _LESION_CONTRAST if brighter else min(around) - _LESION_CONTRAST
        r = self.px(_LESION_RADIUS[self.scene.size])
        for side, row in self.scene.lesions:
            x = self.side_x(side, _SLOT_OFFSET[0]) + self.jitter(2)
            y = self.cy + (-1 if row == "Upper" else 1) * self.px(_SLOT_OFFSET[1]) + self.jitter(2)
            mask = self.box(x, y, r, r) if self.scene.shape == "Square" else self.ellipse(x, y, r, r)
            self.levels[mask & self.body] = level
            if self.scene.shape == "Ring":
                self.levels[self.ellipse(x, y, (r + 1) // 2, (r + 1) // 2)] = around[1]

    def modality(self) -> None:
        {"CT": self.as_ct, "MRI": self.as_mri, "X-Ray": self.as_xray}[self.scene.modality]()

    def as_ct(self) -> None:
        """CT: bright bone, black air, the table below the body, little noise."""
        inner = self.ellipse(self.cx, self.cy, self.body_a - self.px(2), self.body_b - self.px(2))
        self.levels[self.body & ~inner] = 245
        table = self.box(self.cx, self.cy + self.body_b + self.px(2), self.px(18), 0)
        self.levels[table & ~self.body] = 130
        self.levels = self.levels + self.noise(5)

    def as_mri(self) -> None:
        """MRI: bright fat around dark bone, coil shading across the image, strong noise."""
        fat = self.ellipse(self.cx, self.cy, self.body_a - self.px(2), self.body_b - self.px(2))
        bone = self.ellipse(self.cx, self.cy, self.body_a - self.px(4), self.body_b - self.px(4))
        self.levels[self.body & ~fat] = 215
        self.levels[fat & ~bone] = 20
        across = self.x if self.dice.below(2) else self.scene.width - 1 - self.x
        self.levels = self.levels * (75 + 50 * across // self.scene.width) // 100 + self.noise(10)

    def as_xray(self) -> None:
        """X-ray: a projection with overall haze, ribs and spine over the organs, reduced contrast."""
        rib = (self.y + self.dice.below(8)) % self.px(9) < 2
        spine = abs(self.x - self.cx) <= self.px(3)
        self.levels = self.levels + 25 * (rib & self.body) + 30 * (spine & self.body)
        self.levels = 50 + self.levels * 6 // 10 + self.noise(5)

    def clip(self) -> None:
        """Draw a metal cross on the midline, saturated in every modality."""
        if self.scene.clip is None:
            return
        y = self.cy + (-1 if self.scene.clip == "Top" else 1) * self.px(16) + self.jitter(1)
        self.levels[self.box(self.cx, y, self.px(4), self.px(4))] = 0
        self.levels[self.box(self.cx, y, self.px(3), 1) | self.box(self.cx, y, 1, self.px(3))] = 255

    def noise(self, sigma: int) -> Any:
        """Approximately Gaussian integers (height, width): the sum of the eight bytes of a raw PCG64 word."""
        import numpy as np

        seed = int.from_bytes(hashlib.sha256(f"phantom noise {self.scene.member}".encode()).digest()[:8], "big")
        words = np.random.PCG64(seed).random_raw(self.scene.width * self.scene.height)
        sums = words.view(np.uint8).reshape(self.scene.height, self.scene.width, 8).sum(axis=-1, dtype=np.int64)
        return (sums - 1020) * sigma // 209  # eight uniform bytes: mean 1020, standard deviation 209
