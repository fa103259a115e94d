"""`EvalCallback`: evaluations during a training by the Trainer of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.api.arguments import as_flag, as_path, as_text
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.integrations.best import Standing, bound_key, standing
from evalkit.integrations.live import PREFIX, LiveEvaluation, evaluate_live, live_tasks
from evalkit.integrations.plan import check_plan
from evalkit.integrations.processes import training_processes

# Below the training's output folder.
FOLDER = "evalkit"


def _base() -> Any:
    """The base class of callbacks; who imports this module uses transformers."""
    from transformers import TrainerCallback

    return TrainerCallback


class EvalCallback(_base()):  # type: ignore[misc]
    """Evaluates the model of a Trainer on tasks while it is trained, and logs the numbers through `Trainer.log`.

    Args:
        tasks: a task's name, several, or name -> arguments of `evalkit.evaluate` for it.
        every: "epoch", "steps" (as the Trainer's `eval_steps`, else its `logging_steps`), or a number of steps; with
            the last two the last step is evaluated too.
        processor: None: the Trainer's `processing_class`.
        at_start: evaluate before the first step too.
        best: "TASK/PROTOCOL/METRIC": a checkpoint is saved whenever the bound of its interval is better than ever
            before (the lower bound where higher is better), and is kept by `save_total_limit`.
        patience: so many evaluations in a row without such a one end the training.
        out: where the runs are kept, in a folder for each step; None: `evalkit` in the training's output folder.
        limit, protocols, name, digest, batch_size, settings: see `evaluate_live`.

    Attributes:
        evaluations: those of this training, in order.  standing: the best of them; None without `best`.
    """

    def __init__(
        self,
        tasks: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None] = "phantom",
        *,
        every: str | int = "epoch",
        processor: Any = None,
        at_start: bool = False,
        best: str | None = None,
        patience: int | None = None,
        out: str | Path | None = None,
        limit: int | None = None,
        protocols: str | Sequence[str] | None = None,
        name: str | None = None,
        digest: str | None = None,
        batch_size: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.every = _checked_every(every)
        is_number = isinstance(patience, int) and not isinstance(patience, bool) and patience >= 1
        if patience is not None and (not is_number or best is None):
            raise ConfigError(f"patience={patience} is not possible: expected a number from 1, and best= with it.")
        if out is not None:
            as_path("out", out)
        self.plan = live_tasks(tasks, limit=limit, protocols=protocols, batch_size=batch_size, settings=settings)
        self.best, self.patience, self.at_start = as_text("best", best), patience, as_flag("at_start", at_start)
        self.processor, self.out = processor, out
        self.arguments: dict[str, Any] = {
            "tasks": tasks, "limit": limit, "protocols": protocols, "batch_size": batch_size, "settings": settings,
            "name": name,
        }  # fmt: skip
        self.digest = digest
        self.evaluations: list[LiveEvaluation] = []
        self.standing: Standing | None = None
        self._evaluated_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Check the tasks and the processor before the first step, so that no hour of training is lost to a typo."""
        self._evaluated_at = None
        if self.best is not None and args.metric_for_best_model not in (None, "loss"):
            raise ConfigError(
                f"best={self.best} and metric_for_best_model={args.metric_for_best_model} are not possible together: "
                "the Trainer keeps one best checkpoint. Leave one of them out."
            )
        processor = self._processor(given)
        with training_processes() as processes:
            processes.main(lambda: check_plan(self.plan, processor, self.best), "reading the tasks")
        if self.at_start and state.global_step == 0:
            self._evaluate(args, state, control, given)
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Evaluate where a number of steps is full, and after the last one."""
        if self.every == "epoch":
            return control
        # The state has those of the arguments as whole numbers, but 500 where none were given.
        steps = state.eval_steps if args.eval_steps is not None else state.logging_steps
        steps = self.every if isinstance(self.every, int) else max(int(steps), 1)
        if state.global_step % steps == 0 or state.global_step >= state.max_steps:
            self._evaluate(args, state, control, given)
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Evaluate after the epoch."""
        if self.every == "epoch":
            self._evaluate(args, state, control, given)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Name the best checkpoint to the Trainer, which then keeps it."""
        if self.standing is not None and (step := self.standing.best_step) == state.global_step:
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{step}")
        return control

    def _processor(self, given: Mapping[str, Any]) -> Any:
        return self.processor if self.processor is not None else given.get("processing_class")

    def _evaluate(self, args: Any, state: Any, control: Any, given: Mapping[str, Any]) -> None:
        if self._evaluated_at == state.global_step:
            return
        trainer = _calling_trainer()
        found = evaluate_live(
            given["model"],
            self._processor(given),
            step=state.global_step,
            out=self.out if self.out is not None else Path(args.output_dir) / FOLDER,
            digest=None if self.digest is None else f"{self.digest} step {state.global_step}",
            **self.arguments,
        )
        self._evaluated_at = state.global_step
        self.evaluations.append(found)
        if state.is_world_process_zero:
            for task, texts in found.warnings.items():
                for text in texts:
                    console.warn(f"step {found.step}, {task}: {text}")
        due = control.should_log
        trainer.log(found.logs)
        control.should_log = due  # logging resets it, and the loss of this step may be due
        if self.best is not None:
            self._judge(found, self.best, state, control)

    def _judge(self, found: LiveEvaluation, best: str, state: Any, control: Any) -> None:
        """Mark the best checkpoint, and end the training where it has not become better for `patience` evaluations."""
        if best not in found.values:
            raise ConfigError(f"best={best} is not measured. {did_you_mean(best, list(found.values))}")
        higher_is_better = found.values[best].direction == "higher is better"
        key = f"{PREFIX}{best}"
        # From the log, which a training that is resumed finds in its checkpoint.
        now = standing(state.log_history, key, higher_is_better=higher_is_better)
        self.standing = now
        if getattr(found.values[best], "low" if higher_is_better else "high") is None:
            console.warn(f"step {found.step}: {best} has no interval ({found.values[best]}), and counts as no better")
        if now.best_step == found.step:
            control.should_save = found.step > 0
            state.best_metric = now.bound
            state.best_global_step = found.step
        elif self.patience is not None and now.n_since >= self.patience:
            control.should_training_stop = True
            if state.is_world_process_zero:
                bound = bound_key(key, higher_is_better=higher_is_better)
                best_so_far = (
                    "never had a value" if now.bound is None else f"was {now.bound:.4f} at step {now.best_step}"
                )
                console.note(
                    f"training ends at step {found.step}: {bound} {best_so_far}, and has not become better in "
                    f"{now.n_since} evaluations"
                )


def _checked_every(every: Any) -> str | int:
    is_number = isinstance(every, int) and not isinstance(every, bool) and every >= 1
    if not is_number and every not in ("epoch", "steps"):
        raise ConfigError(f'every={every!r} is not possible: expected "epoch", "steps" or a number of steps from 1.')
    return every  # type: ignore[no-any-return]


def _calling_trainer() -> Any:
    """The Trainer that called this callback.

    A Trainer gives its callbacks no reference to itself, and only its own `log` reaches its log history and all of its
    other callbacks; so it is looked up as `self` among the callers.
    """
    from transformers import Trainer

    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(found := frame.f_locals.get("self"), Trainer):
            return found
        frame = frame.f_back
    raise ConfigError("EvalCallback is for the Trainer of transformers; in another loop call evaluate_live.")
