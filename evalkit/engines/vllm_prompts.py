"""What engine=vllm hands to vLLM and reads from it: prompts, decoding settings, answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.types import Generation, Prediction, Request
from evalkit.engines import vllm_package as package
from evalkit.engines.loaded_model import altered_by, ends_of, failed, prediction, suppressed_by
from evalkit.engines.plain_decode import seed
from evalkit.engines.preprocess import SAMPLE_FAULTS, render
from evalkit.models.checkpoint import CheckpointSpec, ready
from evalkit.models.formats import recognise
from evalkit.models.processors import load_processor
from evalkit.models.tensor_files import read_json

# Added to the logit of a token that must never be chosen; vLLM takes nothing larger.
NEVER = -100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What of the checkpoint prompts are made and answers are read with.

    ends: ids that end an answer.  suppressed: ids that are never in one.  vocabulary: how many ids there are.
    """

    processor: Any
    generation: Generation
    ends: frozenset[int]
    suppressed: tuple[int, ...]
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A request as `vllm.LLM.generate` takes it: its prompt, and the arguments of its `SamplingParams`."""

    request: Request
    prompt: Mapping[str, Any]
    sampling: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Requests that are handed over together, and those that could not be prepared.  decodes: images opened."""

    rows: tuple[Ready, ...]
    failures: tuple[Prediction, ...]
    decodes: int


def refuse_what_vllm_cannot(spec: CheckpointSpec, folder: Path) -> None:
    """Raise ModelError or ConfigError for what would not load in vLLM, or would answer differently there.

    folder: of the weights.
    """
    if spec.generation.num_beams > 1:
        raise ConfigError(
            f"num_beams={spec.generation.num_beams} cannot be asked of vLLM, whose sampling has no beam search. Choose "
            "a preset without it (generation=NAME), or engine=hf."
        )
    linear = "projector_hidden_act"
    if (form := recognise(folder)) != "hf":
        config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        if config.get("mm_projector_type", "linear") == "linear" and form != "llava-lora":
            raise ModelError(_no_linear(spec.name))
        raise ModelError(
            f"{spec.name}: {folder} is in LLaVA's own layout ({form}), which vLLM does not load. Save it once in "
            f"Hugging Face form (`python -m evalkit convert model={spec.name} to=DIR`) and give model.source=DIR, or "
            "use engine=hf, which loads it as it is."
        )
    config = read_json(folder / "config.json")
    if config.get(linear) == "linear":
        raise ModelError(_no_linear(spec.name))
    if config.get("model_type") == "paligemma":
        raise ModelError(
            f"{spec.name}: in PaliGemma image and question attend to each other both ways, in vLLM those of the image "
            "alone, which gives other answers. Use engine=hf."
        )
    if config.get("model_type") == "gemma3" and not package.sees_images_both_ways():
        raise ModelError(
            f"{spec.name}: in Gemma 3 (and MedGemma) the places of an image attend to each other both ways; vLLM "
            f"{package.version()} on this machine lets them attend backwards only, which gives other answers and no "
            "warning. Use engine=hf, or a recent vLLM on a GPU."
        )


def _no_linear(name: str) -> str:
    return (
        f"{name} has a single linear layer between vision tower and language model (as LLaVA-Med v1.0), and vLLM's "
        "LLaVA has a two-layer one with an activation only, so that it cannot express this model. Use engine=hf, or "
        "engine=ray with engine=hf workers for several GPUs."
    )


def rules(spec: CheckpointSpec, folder: Path) -> Rules:
    """The checkpoint's processor and its rules for answers, as engine=hf has them.

    Raises:
        ModelError: no processor for images, or settings that vLLM would not apply.
    """
    from transformers import AutoConfig, GenerationConfig

    processor = ready(spec, load_processor(spec.name, folder))
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    try:
        own = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except OSError:  # as transformers itself does for a checkpoint without generation_config.json
        own = GenerationConfig.from_model_config(config)
    if altering := altered_by(own):
        raise ModelError(
            f"{spec.name}: its generation_config.json sets {', '.join(altering)}, which change the answers and which "
            "vLLM does not apply. Use engine=hf."
        )
    return Rules(
        processor=processor,
        generation=spec.generation,
        ends=ends_of(own, processor.tokenizer),
        suppressed=tuple(suppressed_by(own)),
        vocabulary=int(config.get_text_config(decoder=True).vocab_size),
    )


def windows(groups: Sequence[Sequence[Request]], size: int) -> Iterator[list[Sequence[Request]]]:
    """The groups (of one image each) in their order, in windows of at most `size` requests; larger groups are split."""
    window: list[Sequence[Request]] = []
    for group in groups:
        for start in range(0, len(group), size):
            piece = group[start : start + size]
            if window and sum(map(len, window)) + len(piece) > size:
                yield window
                window = []
            window.append(piece)
    if window:
        yield window


def prepare(own: Rules, groups: Sequence[Sequence[Request]]) -> Window:
    """A window: each group's images opened once, its prompts tokenised one by one."""
    from evalkit.core.images import open_image

    rows: list[Ready] = []
    failures: list[Prediction] = []
    decodes = 0
    for group in groups:
        try:
            images = [open_image(ref) for ref in group[0].images]
        except SAMPLE_FAULTS as problem:
            failures += [failed(request, problem) for request in group]
            continue
        decodes += len(images)
        for request in group:
            try:
                prompt = prompt_of(own.processor, request, images)
            except SAMPLE_FAULTS as problem:
                failures.append(failed(request, problem))
                continue
            rows.append(Ready(request=request, prompt=prompt, sampling=sampling(own, request)))
    return Window(rows=tuple(rows), failures=tuple(failures), decodes=decodes)


def prompt_of(processor: Any, request: Request, images: Sequence[Any]) -> dict[str, Any]:
    """vLLM's `TokensPrompt`: the token ids of engine=hf before its image places are expanded, and the images.

    vLLM expands the places.  The images bear their digest, which is what its caches know them by.
    """
    text, special = text_of(processor, request)
    ids = processor.tokenizer(text, add_special_tokens=special)["input_ids"]
    prompt: dict[str, Any] = {"prompt_token_ids": [int(i) for i in ids]}
    if images:
        prompt |= {
            "multi_modal_data": {"image": list(images)},
            "multi_modal_uuids": {"image": list(request.image_digests)},
        }
    return prompt


def text_of(processor: Any, request: Request) -> tuple[str, bool]:
    """The prompt's text, and whether the tokenizer is to add the token that begins it."""
    text = render(processor, request.messages)
    bos = processor.tokenizer.bos_token
    return text, not (bos and text.startswith(bos))


def expanded(processor: Any, row: Ready) -> list[int]:
    """The prompt's token ids as engine=hf feeds them to the model, image places expanded."""
    text, special = text_of(processor, row.request)
    images = row.prompt.get("multi_modal_data", {}).get("image")
    features = processor(
        text=[text], images=[images] if images else None, return_tensors="pt", add_special_tokens=special
    )
    return [int(i) for i in features["input_ids"][0]]


def sampling(own: Rules, request: Request) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams`: all that decides an answer is said, nothing is left to a default."""
    g = request.generation
    said: dict[str, Any] = {
        "max_tokens": g.max_new_tokens,
        "temperature": g.temperature,
        "repetition_penalty": g.repetition_penalty,
        # Some checkpoints name ends that their vocabulary does not have; vLLM refuses these.
        "stop_token_ids": sorted(i for i in own.ends if i < own.vocabulary),
        "detokenize": bool(g.stop),  # texts are read from the token ids, here as in engine=hf
    }
    if g.temperature > 0:
        said |= {"top_p": g.top_p, "top_k": -1 if g.top_k is None else g.top_k, "seed": seed(request) % 2**31}
    if g.stop:
        said["stop"] = list(g.stop)
    if own.suppressed:
        said["logit_bias"] = dict.fromkeys((i for i in own.suppressed if i < own.vocabulary), NEVER)
    return said


def answer_in(own: Rules, request: Request, output: Any, seconds: float) -> Prediction:
    """The prediction in a `vllm.RequestOutput`; `seconds` is the sample's share of its window."""
    given = output.outputs[0]
    ids = [int(i) for i in given.token_ids]
    if why := _no_answer(own, request, given.finish_reason, ids):
        return failed(request, ValueError(why))
    made = prediction(own, request, ids, seconds)
    # A version that leaves the token off that ended the answer.
    return replace(made, finish_reason="stop") if given.finish_reason == "stop" else made


def _no_answer(own: Rules, request: Request, finish: str | None, ids: Sequence[int]) -> str:
    if finish not in ("stop", "length"):
        return f"vLLM ended the answer with finish_reason {finish}"
    if wrong := sorted(set(ids) & set(own.suppressed)):
        return f"vLLM generated token {wrong[0]}, which the checkpoint says is never generated"
    if finish == "length" and len(ids) < request.generation.max_new_tokens:
        return (
            f"the answer was cut after {len(ids)} of {request.generation.max_new_tokens} tokens because prompt and "
            "answer fill vLLM's context; give a larger engine.max_model_len"
        )
    return ""
