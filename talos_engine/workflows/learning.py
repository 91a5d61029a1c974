"""What merging methods that learn are given: a model, and inputs without their labels.

And how what they learned is told to people.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from talos_engine.artifacts import LINEARIZED
from talos_engine.data.splits import find_task
from talos_engine.errors import MismatchError, OptionError
from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.evaluation.entropy import EntropySlope
from talos_engine.merging.ops import dense_changes
from talos_engine.merging.spec import MergeContext, VectorSource
from talos_engine.progress import Progress
from talos_engine.workflows.bases import check_encoder_only
from talos_engine.workflows.merging import MergeInputs
from talos_engine.workflows.opening import Common, open_session
from talos_engine.workflows.vector import header_sparsity


def check_learning_tasks(recorded: Sequence[str]) -> tuple[str, ...]:
    """The tasks to learn on: those that the vectors record, each once.

    Raises:
        OptionError: a vector records none.
        UnknownNameError: one is not known here.
    """
    if "" in recorded:
        raise OptionError("learning coefficients needs vectors that record their tasks")
    names = tuple(dict.fromkeys(recorded))
    for name in names:
        find_task(name)
    return names


def open_context(
    config: Any, inputs: MergeInputs, common: Common, progress: Progress
) -> MergeContext:
    """A context whose slope is the entropy on unlabeled inputs of the vectors' tasks.

    Args:
        config: Configuration of a method that learns: its split and batch size.
        inputs: The vectors, and θ0, which is read into memory.
        common: Seed, device, precision.
        progress: Told how far the method is.

    Raises:
        MismatchError: a vector changes tensors outside the encoder, or is of a linearized model.
    """
    if inputs.evaluation == LINEARIZED:
        raise MismatchError(
            f"{inputs.paths[0]} is evaluated linearized; coefficients are learned on plain models",
            "choose one coefficient with --method sum --search",
        )
    names = check_learning_tasks([vector.header.task for vector in inputs.vectors])
    session = open_session(inputs.resident(), common.runtime())
    for vector, path in zip(inputs.vectors, inputs.paths, strict=True):
        check_encoder_only(dense_changes(vector), session.backbone.structure, str(path))
    tasks = [
        unlabeled_part(session.evaluation_task(name, config.split, evaluation=inputs.evaluation))
        for name in names
    ]
    encoder = EditedEncoder(session.backbone, session.runtime)
    stretches = [1 / (1 - header_sparsity(vector.header)) for vector in inputs.vectors]
    return MergeContext(
        seed=common.seed,
        slope=EntropySlope(encoder, tasks, config.batch_size, common.seed),
        stretch=min(stretches),
        progress=progress,
    )


def unlabeled_part(task: EvaluationTask) -> EvaluationTask:
    """Every second example of a task: what is declared to have no labels."""
    return dataclasses.replace(task, inputs=task.inputs[::2], labels=task.labels[::2])


def learned_in_words(
    notes: Mapping[str, Any], vectors: Sequence[VectorSource]
) -> tuple[dict[str, str], list[str]]:
    """What a method that learns found: words by name, and of each vector its coefficients.

    Of one coefficient per tensor, the smallest, the mean and the largest are told, over the tensors
    that a vector lists.

    Args:
        notes: The merging's: ``lambdas``, one for each vector, or a row of these by tensor; the
            largest allowed as ``max``; ``entropy``, ``first`` and ``last``.
        vectors: The vectors, in the order of the coefficients.
    """
    entropy, lambdas = notes["entropy"], notes["lambdas"]
    found = {
        "coefficients learned": f"between 0 and {notes['max']:g}",
        "entropy": f"{entropy['first']:.4g} in the first step, {entropy['last']:.4g} in the last",
    }
    if not isinstance(lambdas, Mapping):
        return found, [f"{each:.6g}" for each in lambdas]
    words = []
    for position, vector in enumerate(vectors):
        own = [row[position] for name, row in lambdas.items() if name in vector.shapes]
        if own:
            mean = statistics.fmean(own)
            words.append(f"min {min(own):.4g}, mean {mean:.4g}, max {max(own):.4g}")
        else:
            words.append("–")
    return found, words
