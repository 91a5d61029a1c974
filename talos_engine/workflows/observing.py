"""What is measured while a model trains: validation accuracy and sensitivity drift, for the log."""

from __future__ import annotations

from collections.abc import Callable

from talos_engine.data.splits import find_task, load_split
from talos_engine.evaluation.accuracy import EvaluationTask, measure_accuracy
from talos_engine.evaluation.drift import measure_drift
from talos_engine.seeding import derive_seed
from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.loop import StepRecord, TrainConfig
from talos_engine.training.spec import Trainee
from talos_engine.workflows.opening import Session
from talos_engine.workflows.training_log import TrainingLog

DRIFT_POINTS = 2048  # validation examples at most, as in Fig. 7 of arXiv:2504.02620


def validate_with(
    log: TrainingLog, session: Session, trainee: Trainee, task: str, config: TrainConfig
) -> EarlyStopping:
    """Early stopping on the validation accuracy of what trains, each measurement logged."""
    inputs, labels = session.prepare(load_split(find_task(task), "val"))
    held_out = EvaluationTask(task, trainee.classifier, inputs, labels)

    def measure(step: int) -> int:
        found = measure_accuracy(held_out, session.runtime)
        log.write(step, validation_accuracy=found.value)
        return found.correct

    return EarlyStopping(measure, config.validate_every, config.early_stop)


def log_steps(
    log: TrainingLog, session: Session, task: str, drift_every: int, seed: int
) -> Callable[[StepRecord], None]:
    """An observer that logs every step, and the drift after some.

    Args:
        log: Where to.
        session: The model that trains in place, where drift is wanted.
        task: Its task.
        drift_every: Steps between two measurements of the drift; 0 for none.
        seed: Key of the examples that the drift is measured on.
    """
    drift = _drift_of(session, task, seed) if drift_every else None

    def observe(record: StepRecord) -> None:
        log.write(
            record.step,
            loss=record.loss,
            lr=record.lr,
            step_s=record.total_s,
            examples=record.examples,
        )
        if drift is not None and record.step % drift_every == 0:
            log.write(record.step, **drift())

    return observe


def _drift_of(session: Session, task: str, seed: int) -> Callable[[], dict[str, float]]:
    sample = session.evaluation_task(task, "val", DRIFT_POINTS, derive_seed(seed, "drift points"))
    names = session.backbone.structure.trainable
    theta0 = {name: session.weights.tensors[name] for name in names}

    def measure() -> dict[str, float]:
        found = measure_drift(
            sample.classifier, theta0, sample.inputs, sample.labels, session.runtime
        )
        return {"drift": found.squared, "relative_drift": found.relative}

    return measure
