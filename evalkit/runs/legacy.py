"""Runs, baselines and configurations written by earlier versions, brought to today's form.

Schema history:

- manifest 1: `config` named classes by module path; `limit` was text in scored manifests.
- summary 1: `worth` is `sanity_checks` now, `value_unscored_wrong` is `value_worst_case`; metrics had no direction.
- baseline 2: had no `higher_is_better`; its digest covers the form that was written.
- judged 1: metrics had no protocol and no direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.json_text import shown
from evalkit.core.types import MetricKey

# Modules whose names stand in configurations and manifests that were written before they moved.
RENAMED_MODULES = {
    "evalkit.models.baselines": "evalkit.models.text_only_baselines",
    "evalkit.scorers.coloninst": "evalkit.scoring.protocols.coloninst",
    "evalkit.scorers.exact_match": "evalkit.scoring.protocols.exact_match",
    "evalkit.scorers.huatuo": "evalkit.scoring.protocols.huatuo",
    "evalkit.scorers.llava_med": "evalkit.scoring.protocols.llava_med",
    "evalkit.scorers.medevalkit": "evalkit.scoring.protocols.medevalkit",
    "evalkit.scorers.peers": "evalkit.scoring.protocols.other_harnesses",
    "evalkit.scorers.strict": "evalkit.scoring.protocols.strict",
}
# Directions of the metrics of evalkit 0.1.0, which wrote none; every other metric of its protocols is
# higher-is-better.
_LOWER_IS_BETTER = frozenset({"unparsable_rate", "flip_rate"})
_WITHOUT_DIRECTION = frozenset({"order_effect", "reference_score"})
_PROTOCOLS = frozenset(
    {
        "cares", "coloninst", "exact-match", "helm", "huatuogpt-vision", "llava-med", "llava-med-2023",
        "llava-med-run-eval", "lmms-eval", "medevalkit", "medevalkit-fixed", "medevalkit-fixed-slake",
        "medevalkit-slake", "medvlmbench", "medvlmbench-slake", "multimedeval", "nocandi", "strict", "vqa-official",
    }
)  # fmt: skip


def current_target(target: str) -> str:
    """`module:Name` as it is called today.

    >>> current_target("evalkit.scorers.strict:Strict")
    'evalkit.scoring.protocols.strict:Strict'
    """
    module, colon, name = target.partition(":")
    return f"{RENAMED_MODULES.get(module, module)}{colon}{name}"


def direction(key: MetricKey, where: str) -> bool | None:
    """Whether higher is better for a metric of a file without directions; None for a quantity without one.

    Raises:
        StoreError: the protocol is not one of evalkit 0.1.0, so its direction is not known.
    """
    if key.protocol not in _PROTOCOLS and not key.protocol.startswith("judge:"):
        raise StoreError(
            f"{where}: protocol {key.protocol!r} is not part of evalkit and the file was written before metrics "
            f"recorded their direction, so it is not known whether a higher {key.metric} is better. Score the answers "
            "again with `python -m evalkit score predictions=RUN`."
        )
    if key.metric in _WITHOUT_DIRECTION:
        return None
    return key.metric not in _LOWER_IS_BETTER


def check_schema(content: Any, current: int, where: str, what: str) -> int:
    """The schema number of a file's content.

    Raises:
        StoreError: the content is no JSON object with a known schema number.
    """
    if not isinstance(content, dict):
        raise StoreError(f"{where} is not a {what} of evalkit: expected a JSON object, found {type(content).__name__}.")
    schema = content.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise StoreError(
            f"{where}, key 'schema': expected a number from 1 to {current}, found {shown(schema)}. This is not a "
            f"{what} that evalkit wrote; make it again."
        )
    if schema > current:
        raise StoreError(
            f"{where} has schema {schema}, this evalkit reads a {what} up to schema {current}: a later version wrote "
            "it. Install that version."
        )
    return schema


def upgraded_manifest(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of schema 1 in today's form."""
    config = content.get("config")
    protocols = config.get("protocol") if isinstance(config, dict) else None
    named = protocols.values() if isinstance(protocols, dict) else ()
    known = [p for p in named if isinstance(p, dict) and "name" in p and "version" in p]
    return {
        **_present(content),
        "schema": 2,
        "limit": _number(content.get("limit")),
        "protocols": [{"name": p["name"], "version": p["version"]} for p in known],
    }


def upgraded_summary(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A summary or leaderboard result of schema 1 in today's form."""
    kept = {k: v for k, v in content.items() if k != "worth"}
    return {
        **_present(kept),
        "schema": 2,
        "limit": _number(content.get("limit")),
        "metrics": [_upgraded_metric(m, None, f"{where}, metrics") for m in _objects(content, "metrics", where)],
        "sanity_checks": content.get("worth") or {},
    }


def upgraded_judged(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A judged-NAME.json of schema 1 in today's form."""
    protocol = f"judge:{content.get('judge')}"
    metrics = [_upgraded_metric(m, protocol, f"{where}, metrics") for m in _objects(content, "metrics", where)]
    return {**content, "schema": 2, "metrics": metrics}


def upgraded_baseline(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A gate baseline of schema 2 in today's form; its digest must have been checked before."""
    signatures, header = content.get("signatures"), content.get("header")
    if not isinstance(signatures, dict) or not isinstance(header, dict):
        raise StoreError(f"{where} is not a baseline of evalkit: it has no header or no signatures. Make it again.")
    try:
        keys = [MetricKey.parse(name) for name in signatures]
    except ValueError as problem:
        raise StoreError(f"{where}, key 'signatures': {problem}.") from None
    return {
        **content,
        "schema": 3,
        "header": {**header, "limit": _number(header.get("limit"))},
        "higher_is_better": {str(key): direction(key, where) for key in keys},
    }


def _upgraded_metric(metric: Mapping[str, Any], protocol: str | None, where: str) -> dict[str, Any]:
    upgraded = {k: v for k, v in metric.items() if k != "value_unscored_wrong"}
    if protocol is not None:
        upgraded["protocol"] = protocol
    if "value_unscored_wrong" in metric:
        upgraded["value_worst_case"] = metric["value_unscored_wrong"]
    if "protocol" in upgraded and "metric" in upgraded and "higher_is_better" not in upgraded:
        key = MetricKey(str(upgraded["protocol"]), str(upgraded["metric"]))
        upgraded["higher_is_better"] = direction(key, where)
    return upgraded


def _objects(content: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(m, dict) for m in found):
        raise StoreError(f"{where}, key {key!r}: expected a list of objects; the file is not what evalkit writes.")
    return found


def _number(limit: Any) -> Any:
    return int(limit) if isinstance(limit, str) and limit.isdigit() else limit


def _present(content: Mapping[str, Any]) -> dict[str, Any]:
    # An empty object stood for "no timing" in scored runs.
    return {k: v for k, v in content.items() if not (k == "timing" and not v)}
