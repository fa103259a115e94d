"""The manifest of a run that starts, and the decoding settings in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalkit import __version__
from evalkit.core.files import safe_name
from evalkit.core.images import CONVERSION
from evalkit.core.medical_images import rule_counts
from evalkit.core.types import Generation, digest_json, digest_json_items
from evalkit.engines.base import Engine
from evalkit.pipeline.inputs import Input
from evalkit.pipeline.settings import Settings
from evalkit.runs.schema import IDENTITY, Manifest, ProtocolVersion
from evalkit.runs.store import manifest_record
from evalkit.scoring.base import ScoringProtocol


def build_manifest(
    given: Input,
    engine: Engine,
    protocols: Sequence[ScoringProtocol],
    settings: Settings,
    config: Mapping[str, Any],
) -> Manifest:
    """The manifest of a run that starts."""
    loaded = given.prompts.loaded
    images = sorted(given.requests.image_digests)
    manifest = Manifest(
        run_id="",
        model=settings.model,
        checkpoint=engine.identity,
        task=loaded.name,
        split=loaded.split,
        form=loaded.form,
        n=len(loaded.samples),
        data_sha256=loaded.data_sha256,
        images_sha256=digest_json(images),
        image_conversion=CONVERSION if images else None,
        image_rules=rule_counts(ref for s in given.prompts.samples for ref in s.images if images),
        prompt=loaded.prompt,
        prompts_sha256=digest_json_items(sorted(given.requests.fingerprints())),
        image=settings.image,
        limit=settings.limit,
        generation=generation_text(engine, settings),
        closed_rule=loaded.closed_rule,
        config=manifest_record(config),
        protocols=protocol_versions(protocols),
        status="running",
        evalkit=__version__,
        reasoning=settings.reasoning,
        scoring=settings.scoring,
        continuation=settings.continuation,
    )
    # A run with the default setting keeps the name that it had before there was one.
    kept = {} if settings.reasoning == "auto" else {"reasoning": settings.reasoning}
    kept |= (
        {} if settings.continuation is None else {"scoring": settings.scoring, "continuation": settings.continuation}
    )
    identity = digest_json({k: getattr(manifest, k) for k in IDENTITY} | kept)
    return replace(manifest, run_id=f"{safe_name(settings.model)}-{safe_name(loaded.name)}-{identity[:8]}")


def protocol_versions(protocols: Sequence[ScoringProtocol]) -> tuple[ProtocolVersion, ...]:
    """The protocols by name and version, for manifests."""
    return tuple(ProtocolVersion(name=p.name, version=p.version) for p in protocols)


def generation_text(engine: Engine, settings: Settings) -> str:
    """Decoding settings in short, with what the engine asks in another way, which is known in full after generation.

    "none" for a run that generates nothing, with the switch of its chat template; for an engine that cannot state its
    settings, its word for them.
    """
    if settings.continuation is not None:
        return f"none{_switch(engine.generation)}"
    stated: str | None = getattr(engine, "decoding", None)
    return (stated or describe_generation(engine.generation)) + str(getattr(engine, "generation_suffix", ""))


def describe_generation(generation: Generation) -> str:
    """Decoding settings in short, for signatures: greedy.max64, or sample.t0.7… with its other settings.

    >>> describe_generation(Generation(max_new_tokens=16)), describe_generation(Generation(reasoning="on"))
    ('greedy.max16', 'greedy.max64.think-on')
    """
    g = generation
    how = f"sample.t{g.temperature:g}.p{g.top_p:g}.k{g.top_k or 0}.seed{g.seed}" if g.temperature > 0 else "greedy"
    beams = f".beams{g.num_beams}" if g.num_beams > 1 else ""
    penalty = f".rep{g.repetition_penalty:g}" if g.repetition_penalty != 1.0 else ""
    stop = f".stop{digest_json(list(g.stop))[:4]}" if g.stop else ""
    draws = f".n{g.n}" if g.n > 1 else ""
    budget = f".budget{g.reasoning_budget}-{g.reasoning_overflow}" if g.reasoning_budget is not None else ""
    return f"{how}.max{g.max_new_tokens}{beams}{penalty}{stop}{draws}{_switch(g)}{budget}"


def _switch(generation: Generation) -> str:
    """The switch of the chat template, as part of the settings in short."""
    return f".think-{generation.reasoning}" if generation.reasoning != "auto" else ""
