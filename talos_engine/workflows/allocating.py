"""What torch's allocator holds in each phase of a method's calibration and of its steps.

Measured in short runs of their own, after the timed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from talos_engine.masking.spec import MaskContext, MaskEntry
from talos_engine.profiling.allocations import PhasePeak, watch_allocator
from talos_engine.training.loop import TrainJob, train

CALIBRATION = "calibration"
_STEPS = 2  # AdamW's moments come into being in the first: the second is like all that follow


@dataclass(frozen=True)
class AllocatorCost:
    """Peaks of bytes in tensors, by phase.

    Args:
        source: ``profiler`` on a CPU, ``cuda``, or ``none`` where they cannot be had.
        model_bytes: Parameters and buffers of the model, trained ones and frozen ones.
        phases: ``calibration``, where a mask was made, ``forward``, ``backward``, ``optimizer``:
            bytes above what was there before, the model and the data included. ``forward`` starts
            with what the optimizer keeps between steps.
    """

    source: str
    model_bytes: int
    phases: Mapping[str, PhasePeak]


def measure_allocator(job: TrainJob, calibration: Mapping[str, PhasePeak]) -> AllocatorCost:
    """What the phases of a step hold at most.

    Args:
        job: What steps are made of; its parameters move by two more.
        calibration: The phase that made the mask, if one did.
    """
    tensors = [*job.classifier.parameters(), *job.classifier.buffers(), *job.parameters.values()]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors}
    config = replace(job.config, steps=_STEPS, early_stop=0, validate_every=0)
    with watch_allocator(job.runtime.device) as watch:
        train(replace(job, config=config, stopping=None, keeping=None, enter=watch.enter))
    return AllocatorCost(
        source=watch.source,
        model_bytes=sum(storage.nbytes() for storage in storages.values()),
        phases={**calibration, **watch.peaks},
    )


def measure_calibration(
    rule: MaskEntry, context: MaskContext, sparsity: float, asked: Mapping[str, object]
) -> dict[str, PhasePeak]:
    """What making a mask holds at most, beside model and data; empty where that cannot be had.

    Args:
        rule: Run with the few rounds or steps that take as much memory as all of them.
        context: Model and data.
        sparsity: Of the mask, which is thrown away.
        asked: Options of the rule that were asked for; they win.
    """
    model, examples = context.load_model(), context.load_inputs()
    loaded = replace(context, load_model=lambda: model, load_inputs=lambda: examples)
    with watch_allocator(context.runtime.device) as watch:
        watch.enter(CALIBRATION)
        rule.run(rule.configure({**rule.brief, **asked}), loaded).select(loaded, sparsity)
    return watch.peaks
