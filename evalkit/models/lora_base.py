"""Whether a LoRA adapter is merged into the base that it was trained on, by the names in its adapter_config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import IGNORABLE
from evalkit.models.hub import snapshot_of
from evalkit.models.tensor_files import open_folder

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Rows of each tensor that are compared where both bases are on this machine.
_ROWS = slice(0, 2)


def check_base(adapter: Mapping[str, Any], base: Path, *, setting: str = "model.base") -> str | None:
    """Compare the base that an adapter names with the one in use; returns a warning if that does not settle it.

    Other weights of the same shapes are merged without an error and give other answers.  An adapter names its base by a
    hub id, or by a folder of the machine that it was trained on.

    Args:
        setting: the setting that names the base, for messages.

    Raises:
        ModelError: the adapter names another hub repository than the base is from, or a folder of this machine that
            has other weights.
    """
    stated = str(adapter.get("base_model_name_or_path") or "").strip()
    if not stated:
        return "adapter_config.json does not name the adapter's base, so that it cannot be compared with the base used"
    snapshot = snapshot_of(base)
    used = snapshot.id if snapshot else None
    local = Path(stated).expanduser()
    if local.is_dir():
        if local.resolve() == base.resolve() or same_weights(local, base):
            return None
        raise ModelError(
            f"the adapter was trained on the base {local}, and the weights in {base} are others: merged into them, it "
            f"gives another model; set {setting}={local}"
        )
    if _key(stated) == _key(used or str(base)):
        return None
    if used and _HUB_ID.fullmatch(stated):
        revision = "model.base_revision" if setting == "model.base" else "model.revision"
        raise ModelError(
            f"the adapter was trained on the base {stated}, but the base used is {used}: merged into another base, it "
            f"gives another model even where the shapes agree; set {setting}={stated} {revision}=null (or, "
            "if the two have the same weights, name the base used in adapter_config.json)"
        )
    return (
        f"the adapter names the base {stated}, and the base used is {used or base}: whether they have the same weights "
        "cannot be seen from here"
    )


def same_weights(one: Path, other: Path) -> bool:
    """Whether two folders have the same tensors, judged by names, shapes and the first rows of each."""
    first, second = open_folder(one), open_folder(other)
    names = [name for name in first.shapes if not IGNORABLE.search(name)]
    if {n: first.shapes[n] for n in names} != {n: s for n, s in second.shapes.items() if not IGNORABLE.search(n)}:
        return False
    return all(bool((first.read(n, _ROWS) == second.read(n, _ROWS)).all()) for n in names if first.shapes[n])


def _key(name: str) -> str:
    """Last part of a hub id or a path, in lower case, without punctuation.

    >>> _key("./checkpoints/LLaVA-Med_v1.5/") == _key("microsoft/llava-med-v1.5")
    True
    """
    return re.sub(r"[\W_]", "", name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower())
