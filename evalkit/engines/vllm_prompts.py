"""Prompts and decoding settings that engine=vllm passes to vLLM, and predictions made from vLLM's outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.types import Generation, Prediction, Request
from evalkit.engines import vllm_package
from evalkit.engines.loaded_model import (
    altering_settings,
    contains_stop,
    end_token_ids,
    failed_prediction,
    make_prediction,
    prediction_of_error,
    suppressed_tokens,
    trim_answer,
)
from evalkit.engines.loglikelihood import option_prediction
from evalkit.engines.plain_decode import seed
from evalkit.engines.preprocess import SAMPLE_FAULTS, PromptRow, continued, render, with_starts
from evalkit.engines.prompt_check import PromptCheck
from evalkit.models.checkpoint import CheckpointSpec, prepare_processor
from evalkit.models.formats import has_own_projector, recognise
from evalkit.models.processors import WHOLE_PROMPT, load_processor
from evalkit.models.tensor_files import read_json

# Logit bias of a token that must never be chosen; vLLM accepts no larger magnitude.
SUPPRESSED_BIAS = -100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRules:
    """Parts of a checkpoint that make prompts and read answers.

    ends: ids that end an answer.  suppressed: ids that must never be generated.  vocabulary: number of ids.
    """

    processor: Any
    generation: Generation
    ends: frozenset[int]
    suppressed: tuple[int, ...]
    vocabulary: int
    prompt_check: PromptCheck = field(default_factory=PromptCheck)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRequest:
    """Request in the form of `vllm.LLM.generate`: its prompt, and the arguments of its `SamplingParams`.

    option: the number of the continuation that the prompt ends with; scored: the number of tokens, counted from the end
    of the prompt, whose log-probabilities are asked for.
    """

    request: Request
    prompt: Mapping[str, Any]
    sampling: Mapping[str, Any]
    option: int = 0
    scored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedWindow:
    """Requests passed to vLLM together, and failures of those that could not be prepared.  decodes: images opened."""

    rows: tuple[PreparedRequest, ...]
    failures: tuple[Prediction, ...]
    decodes: int


class PromptText(NamedTuple):
    """Prompt's text, and whether the tokenizer must add the beginning-of-sequence token."""

    text: str
    add_special_tokens: bool


def refuse_unsupported(spec: CheckpointSpec, folder: Path) -> None:
    """Raise ModelError or ConfigError if vLLM cannot load the model, or would give different answers.

    folder: folder of the weights.
    """
    if spec.generation.num_beams > 1:
        raise ConfigError(
            f"num_beams={spec.generation.num_beams} is not supported by engine=vllm: vLLM's sampling has no beam "
            "search. Choose a preset without beams (generation=NAME), or use engine=hf."
        )
    if (form := recognise(folder)) != "hf":
        config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        if config.get("mm_projector_type", "linear") == "linear" and form != "llava-lora":
            raise ModelError(_no_linear(spec.name))
        if has_own_projector(folder):
            raise ModelError(
                f"{spec.name} has ColonGPT's projector, which vLLM has no class for. Use engine=hf, or engine=ray with "
                "engine=hf workers for several GPUs."
            )
        raise ModelError(
            f"{spec.name}: {folder} is in LLaVA's own layout ({form}), which vLLM does not load. Convert it to "
            f"Hugging Face form (`python -m evalkit convert model={spec.name} to=DIR`) and set model.source=DIR, or "
            "use engine=hf, which loads this layout."
        )
    config = read_json(folder / "config.json")
    if config.get("projector_hidden_act") == "linear":
        raise ModelError(_no_linear(spec.name))
    if config.get("model_type") == "paligemma":
        raise ModelError(
            f"{spec.name}: in PaliGemma, image and question tokens attend to each other bidirectionally; in vLLM only "
            "the image tokens do, which gives different answers. Use engine=hf."
        )
    if config.get("model_type") == "gemma3" and not vllm_package.has_bidirectional_image_attention():
        raise ModelError(
            f"{spec.name}: in Gemma 3 (and MedGemma), the tokens of an image attend to each other bidirectionally; in "
            f"vLLM {vllm_package.version()} on this machine their attention is causal, which gives different answers "
            "without a warning. Use engine=hf, or a recent vLLM on a GPU."
        )


def _no_linear(name: str) -> str:
    return (
        f"{name} has a single linear layer between vision tower and language model (as LLaVA-Med v1.0). vLLM's LLaVA "
        "supports only a two-layer projector with an activation, so it cannot represent this model. Use engine=hf, or "
        "engine=ray with engine=hf workers for several GPUs."
    )


def load_rules(spec: CheckpointSpec, folder: Path) -> PromptRules:
    """Load the checkpoint's processor and the rules for its answers, as in engine=hf.

    Raises:
        ModelError: no processor for images, or settings that vLLM would not apply.
    """
    from transformers import AutoConfig, GenerationConfig

    processor = prepare_processor(spec, load_processor(spec.name, folder))
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    try:
        own = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except OSError:  # as transformers does for a checkpoint without generation_config.json
        own = GenerationConfig.from_model_config(config)
    if altering := altering_settings(own):
        raise ModelError(
            f"{spec.name}: its generation_config.json sets {', '.join(altering)}, which changes the answers and which "
            "vLLM does not apply. Use engine=hf."
        )
    return PromptRules(
        processor=processor,
        generation=spec.generation,
        ends=end_token_ids(own, processor.tokenizer),
        suppressed=tuple(suppressed_tokens(own)),
        vocabulary=int(config.get_text_config(decoder=True).vocab_size),
    )


def divide_into_windows(groups: Sequence[Sequence[Request]], size: int) -> Iterator[list[Sequence[Request]]]:
    """Divide groups (one image each) in order into windows of at most `size` requests; larger groups are split."""
    window: list[Sequence[Request]] = []
    for group in groups:
        for start in range(0, len(group), size):
            part = group[start : start + size]
            if window and sum(map(len, window)) + len(part) > size:
                yield window
                window = []
            window.append(part)
    if window:
        yield window


def prepare_window(rules: PromptRules, groups: Sequence[Sequence[Request]]) -> PreparedWindow:
    """Prepare a window: open each group's images once, tokenise its prompts one by one."""
    from evalkit.core.images import open_image

    rows: list[PreparedRequest] = []
    failures: list[Prediction] = []
    decodes = 0
    for group in groups:
        try:
            images = [open_image(ref) for ref in group[0].placed_images]
        except SAMPLE_FAULTS as problem:
            failures += [prediction_of_error(request, problem) for request in group]
            continue
        decodes += len(images)
        for request in group:
            try:
                rows += _prepared(rules, request, images)
            except SAMPLE_FAULTS as problem:
                failures.append(prediction_of_error(request, problem))
    return PreparedWindow(rows=tuple(rows), failures=tuple(failures), decodes=decodes)


def _prepared(rules: PromptRules, request: Request, images: Sequence[Any]) -> list[PreparedRequest]:
    """A request in vLLM's form, or one for each of its continuations."""
    processor = rules.processor
    prompt = tokens_prompt(processor, request, images, rules.prompt_check)
    if not request.continuations:
        return [PreparedRequest(request=request, prompt=prompt, sampling=sampling(rules, request))]
    whole = [tokens_prompt(processor, request, images, continuation=text) for text in request.continuations]
    ids = [tuple(each["prompt_token_ids"]) for each in (prompt, *whole)]
    first, *rows = [PromptRow(request=request, ids=tokens, sequences={}, images={}) for tokens in ids]
    return [
        PreparedRequest(
            request=request,
            prompt=each,
            sampling={"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False},
            option=row.option,
            scored=len(row.ids) - row.start,
        )
        for each, row in zip(whole, with_starts(first, rows), strict=True)
    ]


def option_prediction_of(row: PreparedRequest, output: Any, seconds: float) -> Prediction:
    """Make the prediction of one option from the log-probabilities that a `vllm.RequestOutput` has of its prompt."""
    ids = [int(i) for i in output.prompt_token_ids]
    given = output.prompt_logprobs
    if given is None or len(given) != len(ids):
        return failed_prediction(row.request, "vLLM returned no log-probabilities of the prompt's tokens")
    values = [float(given[k][ids[k]].logprob) for k in range(len(ids) - row.scored, len(ids))]
    return option_prediction(row.request, row.option, values, seconds)


def tokens_prompt(
    processor: Any,
    request: Request,
    images: Sequence[Any],
    check: PromptCheck | None = None,
    continuation: str | None = None,
) -> dict[str, Any]:
    """Make vLLM's `TokensPrompt`: the token ids of engine=hf before image placeholders are expanded, and the images.

    vLLM expands the placeholders.  The images are identified by their digests, which are the keys of vLLM's caches.
    continuation: a text after the prompt.
    """
    text, special = prompt_text(processor, request)
    text = text if continuation is None else continued(text, continuation)
    ids = [int(i) for i in processor.tokenizer(text, add_special_tokens=special, **WHOLE_PROMPT)["input_ids"]]
    if check is not None:
        check.check(processor, text, ids, request.sample_id)
    prompt: dict[str, Any] = {"prompt_token_ids": ids}
    if images:
        prompt |= {
            "multi_modal_data": {"image": list(images)},
            "multi_modal_uuids": {"image": list(request.placed_digests)},
        }
    return prompt


def prompt_text(processor: Any, request: Request) -> PromptText:
    """Render the prompt, and decide whether the tokenizer must add the beginning-of-sequence token."""
    text = render(processor, request.messages, request.generation.reasoning)
    bos = processor.tokenizer.bos_token
    return PromptText(text, not (bos and text.startswith(bos)))


def expanded_ids(processor: Any, row: PreparedRequest) -> list[int]:
    """Token ids of the prompt as engine=hf passes them to the model, with image placeholders expanded."""
    text, special = prompt_text(processor, row.request)
    if row.scored:
        text = continued(text, row.request.continuations[row.option])
    images = row.prompt.get("multi_modal_data", {}).get("image")
    features = processor(
        text=[text],
        images=[images] if images else None,
        return_tensors="pt",
        add_special_tokens=special,
        text_kwargs=WHOLE_PROMPT,
    )
    return [int(i) for i in features["input_ids"][0]]


def sampling(rules: PromptRules, request: Request) -> dict[str, Any]:
    """Make the arguments of `vllm.SamplingParams`: every setting that affects an answer is set explicitly."""
    g = request.generation
    arguments: dict[str, Any] = {
        "max_tokens": g.max_new_tokens,
        "temperature": g.temperature,
        "repetition_penalty": g.repetition_penalty,
        # Some checkpoints name end tokens that are not in their vocabulary; vLLM refuses these.
        "stop_token_ids": sorted(i for i in rules.ends if i < rules.vocabulary),
        "detokenize": bool(g.stop),  # texts are decoded from the token ids, as in engine=hf
    }
    if g.temperature > 0:
        arguments |= {"top_p": g.top_p, "top_k": -1 if g.top_k is None else g.top_k, "seed": seed(request) % 2**31}
    if request.with_probability:
        arguments["logprobs"] = 0  # of the chosen tokens alone
    if g.stop:
        arguments["stop"] = list(g.stop)
    if rules.suppressed:
        arguments["logit_bias"] = dict.fromkeys((i for i in rules.suppressed if i < rules.vocabulary), SUPPRESSED_BIAS)
    return arguments


def stopped_early(rules: PromptRules, row: PreparedRequest, output: Any) -> bool:
    """Whether vLLM stopped at a stop string that is not in the answer.

    vLLM searches the text that follows the prompt, where the first word may have a space before it; an answer has none,
    here as in engine=hf.
    """
    if not row.sampling.get("stop") or isinstance(output, Exception):
        return False
    completion = output.outputs[0]
    ids = [int(i) for i in completion.token_ids]
    if completion.finish_reason != "stop" or not ids or ids[-1] in rules.ends:
        return False
    return isinstance(getattr(completion, "stop_reason", None), str) and not contains_stop(rules, ids)


def without_stop_strings(row: PreparedRequest) -> PreparedRequest:
    """The request of a whole answer, which is cut afterwards."""
    return replace(row, sampling={**row.sampling, "stop": None, "detokenize": False})


def prediction_of(rules: PromptRules, request: Request, output: Any, seconds: float) -> Prediction:
    """Make the prediction of a `vllm.RequestOutput`; `seconds` is the sample's share of its window."""
    completion = output.outputs[0]
    ids = [int(i) for i in completion.token_ids]
    if reason := nan_reason(output):
        return failed_prediction(request, reason)
    if reason := no_answer_reason(rules, request.generation.max_new_tokens, completion.finish_reason, ids):
        return prediction_of_error(request, ValueError(reason))
    made = make_prediction(rules, request, ids, seconds)
    if request.with_probability and (probability := _probability(rules, completion, ids)) is not None:
        made = replace(made, logprob=min(0.0, round(float(probability), 6)))
    # Some versions do not return the token that ended the answer.
    return replace(made, finish_reason="stop") if completion.finish_reason == "stop" else made


def _probability(rules: PromptRules, completion: Any, ids: Sequence[int]) -> float | None:
    """The log-probability of an answer and of the token that ended it; None where vLLM does not give it."""
    n = len(trim_answer(rules, ids).ids)
    n += n < len(ids) and ids[n] in rules.ends
    if n == len(ids):
        return getattr(completion, "cumulative_logprob", None)
    given = getattr(completion, "logprobs", None)
    return math.fsum(float(given[k][ids[k]].logprob) for k in range(n)) if given else None


def nan_reason(output: Any) -> str:
    """Why a `vllm.RequestOutput` was made from NaN; "" where vLLM does not say so.

    vLLM chooses some token from NaN; it reports them only if asked for log probabilities, or to count NaN.
    """
    probability = getattr(output.outputs[0], "cumulative_logprob", None)
    if getattr(output, "num_nans_in_logits", 0) or not math.isfinite(probability or 0.0):
        return "vLLM reports logits that are NaN or infinite: the weights hold such values"
    return ""


def no_answer_reason(rules: PromptRules, n_asked: int, finish: str | None, ids: Sequence[int]) -> str:
    """Why these tokens of vLLM are no answer, of which up to `n_asked` were asked for; "" where they are one."""
    if finish not in ("stop", "length"):
        return f"vLLM ended the answer with finish_reason {finish}"
    if wrong := sorted(set(ids) & set(rules.suppressed)):
        return f"vLLM generated token {wrong[0]}, which the checkpoint's settings suppress"
    if finish == "length" and len(ids) < n_asked:
        return (
            f"the answer was cut after {len(ids)} of {n_asked} tokens because prompt and "
            "answer fill vLLM's context; set a larger engine.max_model_len"
        )
    return ""
