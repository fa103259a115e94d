"""engine=vllm: vLLM in this process, with its prefix cache on and requests ordered by image."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial, first_line
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import vllm_package
from evalkit.engines.hf import resolve_device, resolve_dtype
from evalkit.engines.loaded_model import Tally, prediction_of_error
from evalkit.engines.loglikelihood import Collector
from evalkit.engines.preprocess import group_by_image
from evalkit.engines.vllm_prompts import (
    PreparedRequest,
    PreparedWindow,
    PromptRules,
    divide_into_windows,
    expanded_ids,
    load_rules,
    option_prediction_of,
    prediction_of,
    prepare_window,
    refuse_unsupported,
    stopped_early,
    without_stop_strings,
)
from evalkit.engines.vllm_thoughts import answer_in_parts
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.processors import pil_arguments

# Arguments of `vllm.LLM` that evalkit sets: prefix caching is the purpose of this engine, and the checkpoint's own
# decoding settings must not apply.
RESERVED_ARGUMENTS = frozenset(
    {
        "model", "tokenizer", "dtype", "tensor_parallel_size", "pipeline_parallel_size", "max_model_len",
        "gpu_memory_utilization", "enable_prefix_caching", "limit_mm_per_prompt", "generation_config",
        "skip_tokenizer_init", "seed", "runner",
    }
)  # fmt: skip


class _Output(NamedTuple):
    """Prepared request with its `vllm.RequestOutput`, or with the exception that vLLM refused it with."""

    row: PreparedRequest
    output: Any


class VllmEngine:
    """Generates with vLLM (`vllm.LLM`).

    Args:
        spec: the checkpoint, in Hugging Face form.
        dtype: as for engine=hf.
        tensor_parallel_size: GPUs that share each layer; pipeline_parallel_size: groups of layers.
        max_model_len: maximum tokens of prompt and answer together; None: the model's own.
        gpu_memory_utilization: share of a GPU's memory that vLLM uses; None: vLLM's default.
        window: requests passed to vLLM at a time; answers arrive, and are saved, one window at a time.
        image_processor: pil: the PIL version of the checkpoint's processor, as in engine=hf; auto: vLLM's choice.
        check_prompts: compare vLLM's token ids of the first image's prompts with those of engine=hf, and stop if a
            token differs.
        engine_args: further arguments of `vllm.LLM`; they are part of the answers' key.

    Raises:
        ConfigError: a setting is not valid, or the package vllm is not installed.
        ModelError: vLLM does not support the model; the message says why and what to use instead.
    """

    name = "vllm"
    needs_images = True
    scores_options = True
    gives_probability = True

    def __init__(
        self,
        *,
        spec: CheckpointSpec,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        window: int = 512,
        image_processor: str = "pil",
        check_prompts: bool = True,
        engine_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.parallel = {
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
        }
        _check_sizes({**self.parallel, "window": window, "max_model_len": max_model_len})
        _check_settings(gpu_memory_utilization, engine_args or {}, image_processor)
        checkpoint.refuse_changes(spec, "engine=vllm")
        vllm_package.require()
        self.spec = spec
        self.generation = spec.generation
        self.max_images = spec.max_images
        self.window, self.check_prompts = window, check_prompts
        self.memory = {"max_model_len": max_model_len, "gpu_memory_utilization": gpu_memory_utilization}
        self.engine_args = dict(engine_args or {})
        self.image_processor = image_processor
        self.parts = checkpoint.locate(spec)
        self.folder = checkpoint.weights_folder(self.parts)
        refuse_unsupported(spec, self.folder)
        self.device = resolve_device("auto")
        self.dtype = resolve_dtype(dtype, spec, self.device)
        self.weights_digest = checkpoint.digest(spec, self.parts)
        options = [*([self.engine_args] if engine_args else []), *(["auto"] if image_processor == "auto" else [])]
        self.identity = digest_json([self.name, self.weights_digest, spec.chat_template, self.dtype, *options])
        self._llm: Any = None
        self._max_images = 0
        self._n_checked = 0
        self._counts: Counter[str] = Counter()
        self._collector = Collector()
        self._tally = Tally()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  The next window is prepared in a thread while vLLM answers the current one.

        Raises:
            EngineError: vLLM does not start, makes different prompts, or answers nothing.
            Partial: vLLM died during the run.
        """
        if not requests:
            return
        rules = load_rules(self.spec, self.folder)
        self.load(max(len(r.placed) for r in requests))
        for window in _prepare_ahead(rules, divide_into_windows(group_by_image(requests), self.window)):
            self._counts["image_decodes"] += window.decodes
            predictions = [*window.failures, *self._predictions(rules, window.rows)]
            self._tally.add(self.spec.name, predictions)
            yield predictions

    @property
    def is_loaded(self) -> bool:
        """Whether vLLM has been started."""
        return self._llm is not None

    @property
    def loading(self) -> tuple[Any, ...]:
        """What decides, with the model's YAML, how vLLM is started."""
        settings = (self.parallel, self.memory, self.engine_args, self.image_processor)
        return self.folder, self.weights_digest, self.dtype, *settings

    def use_model_of(self, other: VllmEngine) -> None:
        """Use the vLLM that another engine of the same settings has started."""
        self._llm, self._max_images = other._llm, other._max_images

    def load(self, images: int) -> Any:
        """Return a `vllm.LLM` for prompts of up to `images` images; made once, and again when more are needed."""
        if self._llm is None or images > self._max_images:
            self._llm, self._max_images = None, images
            arguments = {k: v for k, v in self.memory.items() if v is not None} | self.parallel | self.engine_args
            pil = self._pil_arguments() if self.image_processor == "pil" else {}
            if keywords := pil | dict(arguments.get("mm_processor_kwargs") or {}):
                arguments["mm_processor_kwargs"] = keywords
            self._llm = vllm_package.start(self.spec.name, self.folder, {"dtype": self.dtype, **arguments}, images)
        return self._llm

    def _pil_arguments(self) -> dict[str, Any]:
        if (arguments := pil_arguments(self.folder)) is not None:
            return arguments
        self.image_processor = "auto"
        console.note(
            f"{self.spec.name}: its processor includes a video processor and could not be created with the PIL image "
            "processor, so vLLM chooses the image processor; pixels may differ slightly from those of engine=hf"
        )
        return {}

    def _predictions(self, rules: PromptRules, rows: Sequence[PreparedRequest]) -> list[Prediction]:
        started = time.perf_counter()
        if self.generation.reasoning_budget is not None and not any(row.scored for row in rows):
            return self._limited(rules, rows, started)
        outputs = self._answered(rules, rows)
        seconds = (time.perf_counter() - started) / max(1, len(rows))
        if self.check_prompts and not self._n_checked:
            self._compare_prompts(rules, outputs)
        predictions = []
        for row, output in outputs:
            if isinstance(output, Exception):
                predictions.append(prediction_of_error(row.request, output))
                continue
            self._count(output)
            predictions.append(
                option_prediction_of(row, output, seconds)
                if row.scored
                else prediction_of(rules, row.request, output, seconds)
            )
        return self._joined(outputs, predictions)

    def _limited(self, rules: PromptRules, rows: Sequence[PreparedRequest], started: float) -> list[Prediction]:
        """The predictions of rows whose thoughts have a budget."""

        def generate(parts: Sequence[PreparedRequest]) -> list[Any]:
            outputs = self._answered(rules, parts)
            if self.check_prompts and not self._n_checked:
                self._compare_prompts(rules, outputs)
            for _, output in outputs:
                if not isinstance(output, Exception):
                    self._count(output)
            return [output for _, output in outputs]

        answers = answer_in_parts(rules, rows, generate)
        seconds = (time.perf_counter() - started) / max(1, len(rows))
        return [answer.prediction(seconds) for answer in answers]

    def _joined(self, outputs: Sequence[_Output], predictions: Sequence[Prediction]) -> list[Prediction]:
        """The predictions of requests; those of single options are joined."""
        found: list[Prediction] = []
        for (row, _), prediction in zip(outputs, predictions, strict=True):
            if not row.scored:
                found.append(prediction)
            elif (whole := self._collector.add(row, prediction)) is not None:
                found.append(whole.prediction)
        return found

    def _answered(self, rules: PromptRules, rows: Sequence[PreparedRequest]) -> list[_Output]:
        """Outputs of all rows; those that vLLM stopped too early are asked for again, without its stop strings."""
        outputs = self._generate(rows)
        early = [k for k, (row, output) in enumerate(outputs) if stopped_early(rules, row, output)]
        again = self._generate([without_stop_strings(rows[k]) for k in early])
        for k, (_, output) in zip(early, again, strict=True):
            outputs[k] = _Output(rows[k], output)
        return outputs

    def _generate(self, rows: Sequence[PreparedRequest]) -> list[_Output]:
        """Generate for all rows; a row that vLLM refuses gets the exception as its output.

        vLLM refuses a whole call if one of its prompts is invalid, before any is answered: the call is repeated with
        halves of the rows, down to the invalid prompt.
        """
        if not rows:
            return []
        import vllm

        try:
            outputs = self._llm.generate(
                [dict(row.prompt) for row in rows],
                [vllm.SamplingParams(**row.sampling) for row in rows],
                use_tqdm=False,
            )
        except vllm_package.fatal_errors() as problem:
            raise self._died(problem) from problem
        except vllm_package.prompt_errors() as problem:
            if len(rows) == 1:
                return [_Output(rows[0], problem)]
            half = len(rows) // 2
            return [*self._generate(rows[:half]), *self._generate(rows[half:])]
        if len(outputs) != len(rows):
            raise EngineError(f"{self.spec.name}: vLLM returned {len(outputs)} answers for {len(rows)} requests.")
        return [_Output(row, output) for row, output in zip(rows, outputs, strict=True)]

    def _died(self, problem: Exception) -> EngineError | Partial:
        message = f"{self.spec.name}: vLLM died: {first_line(problem)}. Its log on stderr gives the cause"
        if not self._tally.answered:
            return EngineError(f"{message}; nothing was answered.")
        return Partial(f"{message}. The answers so far are kept; run the same command again to continue.")

    def _compare_prompts(self, rules: PromptRules, outputs: Sequence[_Output]) -> None:
        """Compare vLLM's token ids of the first image's prompts with those of engine=hf; EngineError if they differ."""
        answered = [o for o in outputs if o.row.request.images and not isinstance(o.output, Exception)]
        for row, output in answered:
            if row.request.placed_digests != answered[0].row.request.placed_digests:
                break
            expected, actual = expanded_ids(rules.processor, row), [int(i) for i in output.prompt_token_ids]
            if expected != actual:
                raise EngineError(_prompt_difference(self.spec.name, row.request, expected, actual))
            self._n_checked += 1

    def _count(self, output: Any) -> None:
        self._counts["prompt_tokens"] += len(output.prompt_token_ids)
        self._counts["cached_tokens"] += output.num_cached_tokens or 0
        self._counts["answer_tokens"] += len(output.outputs[0].token_ids)

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`."""
        import torch
        import transformers

        record: dict[str, Any] = {
            "engine": self.name,
            "weights_sha256": self.weights_digest,
            "dtype": self.dtype,
            "device": self.device,
            "vllm": vllm_package.version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "torchvision": find_spec("torchvision") is not None,
            "image_processor": "pil" if self.image_processor == "pil" else "vLLM's choice",
            "prefix_caching": True,
            **self.parallel,
            **self.memory,
            "engine_args": self.engine_args,
            "window": self.window,
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT") == "1",
            "prompts_checked": self._n_checked,
            "counters": dict(self._counts),
        }
        if torch.cuda.is_available():
            record["device_name"] = torch.cuda.get_device_name(0)
        return record


def _check_sizes(sizes: Mapping[str, int | None]) -> None:
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise ConfigError(f"engine.{name}={value} is not valid; it must be 1 or more.")


def _check_settings(gpu_memory_utilization: float | None, engine_args: Mapping[str, Any], image_processor: str) -> None:
    if gpu_memory_utilization is not None and not 0 < gpu_memory_utilization <= 1:
        raise ConfigError(
            f"engine.gpu_memory_utilization={gpu_memory_utilization} is not a fraction; it must be above 0 and at most "
            "1."
        )
    if taken := sorted(RESERVED_ARGUMENTS & set(engine_args)):
        raise ConfigError(
            f"engine.engine_args may not contain {', '.join(taken)}: evalkit sets these itself; see "
            "conf/engine/vllm.yaml for those that have their own setting."
        )
    if image_processor not in ("pil", "auto"):
        raise ConfigError(f"engine.image_processor={image_processor} is not valid. Known: pil, auto.")


def _prepare_ahead(rules: PromptRules, windows: Iterator[list[Sequence[Request]]]) -> Iterator[PreparedWindow]:
    """Yield prepared windows; each is prepared in a thread while the previous one is answered."""
    from concurrent.futures import Future, ThreadPoolExecutor

    thread_rules = _copy(rules)
    waiting: Future[PreparedWindow] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="prepare") as pool:
        for window in windows:
            following = pool.submit(prepare_window, thread_rules, window)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _copy(rules: PromptRules) -> PromptRules:
    """Copy the rules with their processor: fast tokenizers cannot be shared between threads."""
    import copy
    from dataclasses import replace

    return replace(rules, processor=copy.deepcopy(rules.processor))


def _prompt_difference(name: str, request: Request, expected: Sequence[int], actual: Sequence[int]) -> str:
    shorter = min(len(expected), len(actual))
    at = next((i for i, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b), shorter)
    return (
        f"{name}: vLLM makes a different prompt for sample {request.sample_id} than engine=hf: {len(actual)} tokens "
        f"instead of {len(expected)}; the first difference is at token {at} ({list(actual[at : at + 3])} instead of "
        f"{list(expected[at : at + 3])}). The answers would belong to a different prompt. Use engine=hf; or accept "
        "vLLM's prompts with engine.check_prompts=false, which the manifest records."
    )
