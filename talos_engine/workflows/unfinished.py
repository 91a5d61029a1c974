"""Runs that were interrupted: where their state lies, and which run may go on with it.

A state belongs to one run: the same base, data, seed and options, on the same kind of device with
the same number of threads, so that the result has the same bits as that of a run that was never
interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from talos_engine.artifacts import (
    Header,
    ResumeState,
    check_distinct,
    check_output,
    discard_output,
    read_resume,
    write_resume,
)
from talos_engine.configuration import check_at_least
from talos_engine.device import Runtime
from talos_engine.errors import (
    CorruptFileError,
    MismatchError,
    OptionError,
    OutputError,
    TrainingError,
)
from talos_engine.training.early_stopping import COUNTS
from talos_engine.training.resuming import Keeping, TrainState
from talos_engine.workflows.training_log import is_training_log

_SHOWN = 4  # differences named in a message


@dataclass(frozen=True)
class Persistence:
    """What is written while a run trains.

    Args:
        checkpoint_every: Steps between two saves of the run's state; 0 for none.
        resume: Go on with the state of an unfinished run, where there is one.
        log: JSONL file that gets a line per step.
        log_drift: Steps between two measurements of the sensitivity's drift, which go into the
            log; 0 for none.
    """

    checkpoint_every: int = 0
    resume: bool = False
    log: Path | None = None
    log_drift: int = 0

    def __post_init__(self) -> None:
        check_at_least("checkpoint-every", self.checkpoint_every, 0)
        check_at_least("log-drift", self.log_drift, 0)
        if self.log_drift and self.log is None:
            raise OptionError("--log-drift writes into the log", "say --log FILE")


def resume_path(out: Path) -> Path:
    """Where the state of the run that makes ``out`` is: ``OUT.resume.safetensors``, beside it."""
    return out.with_name(f"{out.name}.resume.safetensors")


def check_places(out: Path, kept: Persistence, read: Sequence[Path]) -> None:
    """Raise before any work if what the run writes would take the place of something it needs.

    Args:
        out: The checkpoint; of some models a folder, which is replaced as a whole.
        kept: What is written on the way.
        read: Files and folders that the run reads.

    Raises:
        OptionError: two are the same file, or one lies in the folder that is written.
    """
    check_distinct({"--out": out, "--log": kept.log, "the run's state": resume_path(out)}, read)
    check_distinct({"--out": out}, [] if kept.log is None else [kept.log])


def check_persistence(out: Path, kept: Persistence, *, force: bool) -> None:
    """Raise before any work if what is written on the way could not be.

    Raises:
        OutputError: a file cannot be written, or an unfinished run would be lost.
    """
    state = resume_path(out)
    unfinished = state.exists()
    if unfinished and not kept.resume and not force:
        raise OutputError(
            f"{state} holds an unfinished run of {out.name}",
            "pass --resume to go on with it, or --force to start over",
        )
    if kept.checkpoint_every or kept.resume:
        check_output(state, force=True)
    if kept.log is None:
        return
    goes_on = kept.resume and is_training_log(kept.log)  # a killed run may have no state yet
    if kept.resume and kept.log.is_file() and not goes_on and not force:
        raise OutputError(
            f"{kept.log} exists already and is no log that a run could go on with",
            "name another file, or pass --force to overwrite it",
        )
    check_output(kept.log, force=force or goes_on)


def make_keeping(
    out: Path,
    kept: Persistence,
    header: Header,
    runtime: Runtime,
    *,
    stops_early: bool,
) -> Keeping | None:
    """How the loop keeps its state; ``None`` where nobody asked for it.

    Args:
        out: The checkpoint that the run makes.
        kept: What was asked for.
        header: The checkpoint's header, which tells everything that changes its tensors.
        runtime: Where it computes.
        stops_early: Whether it has early stopping, whose counts are part of the state.

    Raises:
        ArtifactError: the state of the unfinished run cannot be read.
        MismatchError: it is of another run; says in what they differ.
    """
    if not kept.checkpoint_every and not kept.resume:
        return None
    path = resume_path(out)
    own = state_header(header, runtime)

    def save(state: TrainState) -> None:
        counts = {"step": state.step, **state.stopping}
        write_resume(path, ResumeState(own, counts, dict(state.tensors)))

    found = find_state(out, own) if kept.resume else None
    start = None if found is None else _unpack(path, found, COUNTS if stops_early else ())
    return Keeping(save, tell_kept(out), kept.checkpoint_every, start)


def state_header(header: Header, runtime: Runtime) -> Header:
    """The header of the states of a run, which also tells where it computes.

    Args:
        header: Everything else that changes the run's tensors.
        runtime: Where it computes.
    """
    computed = {"device": runtime.device.type, "threads": torch.get_num_threads()}
    return replace(header, kind="resume", config={**header.config, **computed})


def find_state(out: Path, own: Header) -> ResumeState | None:
    """The state that an unfinished run has left, if it has left one.

    Args:
        out: What the run makes.
        own: As ``state_header`` makes it.

    Raises:
        ArtifactError: the state cannot be read.
        MismatchError: it is of another run; says in what they differ.
    """
    path = resume_path(out)
    if not path.exists():
        return None
    found = read_resume(path)
    _check_same_run(path, found.header, own)
    return found


def tell_kept(out: Path) -> str:
    """What whoever interrupts a run that keeps its state should know."""
    return f"{resume_path(out)} keeps what was done: the same command with --resume goes on"


@contextmanager
def hints_about_state(out: Path) -> Iterator[None]:
    """Errors of training say what a kept state means for whoever tries other options."""
    try:
        yield
    except TrainingError as error:
        state = resume_path(out)
        if not state.exists():
            raise
        raise TrainingError(
            error.message,
            f"{error.hint}; {state} belongs to this run: "
            "with other options, start over with --force and without --resume",
        ) from error


def forget_unfinished(out: Path) -> None:
    """Remove the state of the run that made ``out``, which is finished."""
    with suppress(OutputError):  # the result is there, and that is what counts
        discard_output(resume_path(out))


def _unpack(path: Path, found: ResumeState, wanted: tuple[str, ...]) -> TrainState:
    counts = dict(found.counts)
    step = counts.pop("step")
    if set(counts) != set(wanted) or not 0 <= step <= found.header.config["steps"]:
        raise CorruptFileError(f"{path}: its counts are not those of such a run")
    return TrainState(step, counts, found.tensors)


def _check_same_run(path: Path, found: Header, own: Header) -> None:
    before, now = dict(_flat(found)), dict(_flat(own))
    differing = [
        f"{name} was {before.get(name, 'not set')}, is {now.get(name, 'not set')}"
        for name in {**before, **now}  # the weightiest first
        if before.get(name) != now.get(name)
    ]
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise MismatchError(
            f"{path} is the state of another run: {'; '.join(differing[:_SHOWN])}{more}",
            "give the options it was started with, or --force without --resume to start over",
        )


def _flat(header: Header) -> Iterator[tuple[str, str]]:
    """What tells a run from others, as names and short texts."""
    for name in ("method", "task", "seed", "engine"):
        yield name, str(getattr(header, name))
    yield "base", header.base.hash[:12]
    yield "data", header.data[:12]
    yield from _flat_config(header.config, "")


def _flat_config(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat_config(value, f"{prefix}{name}.")
        else:
            text = str(value)
            yield f"{prefix}{name}".replace("_", "-"), text[:12] if len(text) == 64 else text
