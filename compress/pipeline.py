"""Runs a plan: step after step, each from what the one before gave; then measures all of them together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from child_models import Dataset
from compress.deployed import deployed_file
from compress.figures import Figures, all_figures
from compress.plan import CompressionPlan, QuantiseStep, Step
from compress.run_step import StepContext, run_step
from compress.step_store import StepResult, StepStore, model_key, step_key
from compress.stored_models import StoredModel
from latency_models import Device

_log = logging.getLogger(__name__)

_SLOWER = 1.05
"""Times as long: less is within what measuring twice differs by."""

OnStep = Callable[[int, Step, str], None]
"""Called with a step's number (from 1), the step, and "start", "done" or "kept" (from an earlier call)."""
OnProgress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0–1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One step: what it is, the figures before and after, and what it says about itself."""

    name: str
    before: Figures
    after: Figures
    details: dict[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As `netlathe compress --json` prints it."""
        return {
            "name": self.name,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "seconds": self.seconds,
            "details": self.details,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Compressed:
    """The pipeline's result.

    Attributes:
        stored: the last step's model.
        steps: in order.
        test_before, test_after: accuracy on the test split of the model that was given and of the last one, share 0–1;
            both are tested once, at the end, and no step has seen that split.
    """

    stored: StoredModel
    steps: tuple[StepReport, ...]
    test_before: float
    test_after: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must see: steps after which the device takes longer, or the file is larger."""
        found = []
        for number, step in enumerate(self.steps, start=1):
            before, after = step.before, step.after
            for batch in ("b1", "b16"):
                was, now = (getattr(each, f"latency_ms_{batch}") for each in (before, after))
                if now > _SLOWER * was:
                    found.append(
                        f"step {number} ({step.name}) made calls with batch {batch[1:]} slower on this device: {was:.4f} ms "
                        f"before, {now:.4f} ms after"
                    )
            if after.size_bytes > before.size_bytes:
                found.append(
                    f"step {number} ({step.name}) made the file larger: {before.size_bytes:,} bytes before, "
                    f"{after.size_bytes:,} after"
                )
        return tuple(found)


def compress(
    stored: StoredModel,
    dataset: Dataset,
    plan: CompressionPlan,
    folder: Path,
    *,
    device: Device,
    teacher: StoredModel | None = None,
    on_step: OnStep | None = None,
    on_progress: OnProgress | None = None,
) -> Compressed:
    """Carry out `plan` on a trained model.

    A finished step is kept in `folder`; the next call with equal arguments goes on after it.

    Args:
        stored: the model, trained on `dataset`.
        device: where latency and energy are measured.
        teacher: of every step that distils; by default `stored` itself.

    Raises:
        CompressionError: a step cannot be done on this model.
        NonFiniteTraining: a training diverged.
    """
    context = StepContext(
        dataset=dataset,
        training=plan.training,
        teacher=(teacher or stored).model,
        seed=plan.seed,
        cache_dir=folder / "teacher",
        device=device,
        on_progress=on_progress or (lambda _what, _share: None),
    )
    told = on_step or (lambda _number, _step, _state: None)
    results = _run(stored, plan, StepStore(folder), context, told)
    models = [stored, *(result.stored for result in results)]
    figures = _figures(models, dataset, device)
    reports = tuple(
        StepReport(
            name=step.step,
            before=figures[number],
            after=figures[number + 1],
            details=dict(result.details),
            seconds=result.seconds,
        )
        for number, (step, result) in enumerate(zip(plan.steps, results, strict=True))
    )
    last = models[-1]
    return Compressed(
        stored=last,
        steps=reports,
        test_before=stored.model.accuracy(dataset.test, dataset),
        test_after=last.model.accuracy(dataset.test, dataset),
    )


def _run(
    stored: StoredModel,
    plan: CompressionPlan,
    store: StepStore,
    context: StepContext,
    told: OnStep,
) -> list[StepResult]:
    depends = [model_key(stored.model), model_key(context.teacher), context.dataset.digest]
    depends += [plan.training.model_dump_json(), str(plan.seed)]
    results: list[StepResult] = []
    for number, step in enumerate(plan.steps, start=1):
        depends.append(step.model_dump_json())
        if isinstance(step, QuantiseStep) and step.quantisation.limits_calls:
            depends.append(context.device.digest)
        key = step_key(depends)
        result = store.read(number, step.step, key)
        if result is None:
            told(number, step, "start")
            started = time.monotonic()
            model, details = run_step(step, stored.model, context)
            stored = replace(stored, model=model)
            result = StepResult(stored=stored, details=details, seconds=time.monotonic() - started)
            store.write(number, step.step, key, result)
            _log.info("step %d (%s) took %.0f s", number, step.step, result.seconds)
            told(number, step, "done")
        else:
            told(number, step, "kept")
        # the document's changes (label, space) are made when it is written
        stored = replace(stored, model=result.stored.model)
        results.append(replace(result, stored=stored))
    return results


def _figures(models: Sequence[StoredModel], dataset: Dataset, device: Device) -> list[Figures]:
    files = [deployed_file(each.model) for each in models]
    accuracies = [each.model.accuracy(dataset.validation, dataset) for each in models]
    return all_figures(files, accuracies, device)
