"""Names of classes in tables of the datasets library, which stores the number of a class in place of its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Classes = Mapping[str, Sequence[str]]


def class_names(metadata: Mapping[bytes, bytes] | None) -> Classes:
    """Column -> the names of its classes, from the metadata of a parquet file; empty where there are none."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError):  # written by another program
        return {}
    return names_of_features(features) if isinstance(features, Mapping) else {}


def names_of_features(features: Mapping[str, Any]) -> Classes:
    """Column -> the names of its classes, from the features of the datasets library as an object.

    >>> names_of_features({"gold": {"names": ["no", "yes"], "_type": "ClassLabel"}, "q": {"_type": "Value"}})
    {'gold': ['no', 'yes']}
    """
    found = {column: _names(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def with_class_names(row: Mapping[str, Any], classes: Classes) -> Mapping[str, Any]:
    """A row with the names of classes in place of their numbers; the number -1 means that there is no class."""
    if not classes:
        return row
    return {column: _named(value, classes[column]) if column in classes else value for column, value in row.items()}


def _names(feature: Any) -> Sequence[str]:
    """The names of a feature, or of the items of one that is a list."""
    if isinstance(feature, list):
        return _names(feature[0]) if feature else ()
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") == "ClassLabel":
        return list(feature.get("names") or ())
    return _names(feature["feature"]) if "feature" in feature else ()


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return names[value] if 0 <= value < len(names) else None
