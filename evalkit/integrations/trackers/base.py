"""What all trackers have: how much of a run is sent, and the check of their library."""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """Settings of every tracker.

    samples: rows of the table of samples; 0 for none.  pictures: send them with their pictures.  page: send the run's
    page, with the pictures of all samples unless `pictures` is false.  name: of the run in the tracker; None: model and
    task.
    """

    name: str | None = None
    samples: int = 50
    pictures: bool = True
    page: bool = True

    # The import name of the library, and the extra of evalkit that installs it.
    library: ClassVar[str]
    extra: ClassVar[str]

    def check(self) -> None:
        """Check that the library is installed, without importing it.

        Raises:
            ConfigError: it is not, or a setting is invalid.
        """
        if self.samples < 0:
            raise ConfigError(f"tracker.samples={self.samples} is not possible: expected a number from 0.")
        found = find_spec(self.library)
        if found is None or found.origin is None:  # a folder of that name in the current one, with a tracker's files
            raise ConfigError(
                f"tracker={self.library} needs the package {self.library}, which is not installed: "
                f"pip install 'evalkit-medvqa[{self.extra}]', or leave tracker= out."
            )


def picture(jpeg: bytes) -> Image:
    """A picture of a `TrackedSample`."""
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).convert("RGB")
