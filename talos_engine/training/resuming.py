"""The state of a run between two steps: everything that the rest of the run depends on.

Files are the affair of ``artifacts``; when a state is saved, that of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from talos_engine.errors import MismatchError
from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.sparse_adamw import SparseAdamW

_RNG = {"cpu": "rng.cpu", "cuda": "rng.cuda"}
_BEST = "best_values"


@dataclass(frozen=True, eq=False)
class TrainState:
    """A run between two steps. The data order needs no more than the step: it is keyed by seed.

    Args:
        step: Steps made.
        stopping: Counts of early stopping; empty without it.
        tensors: ``values``, ``exp_avg`` and ``exp_avg_sq`` of the live entries, ``adam_step``, the
            generators' states as uint8, and ``best_values`` with early stopping.
    """

    step: int
    stopping: Mapping[str, int]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Keeping:
    """When and how the state of a run is kept.

    Args:
        save: Stores a state for good.
        told: What whoever interrupts the run should know.
        every: Steps between two saves; 0 saves only when the run is interrupted.
        start: The state to go on from, if any.
    """

    save: Callable[[TrainState], None]
    told: str
    every: int = 0
    start: TrainState | None = None

    def due(self, step: int, steps: int) -> bool:
        """Whether the state after ``step`` is saved; not after the last, where the result is."""
        return self.every > 0 and step % self.every == 0 and step < steps


@dataclass(frozen=True)
class RunState:
    """The parts of a running loop that make up its state.

    Args:
        optimizer: Holds the live values and their moments.
        stopping: Early stopping, if any.
        device: Where the run computes.
    """

    optimizer: SparseAdamW
    stopping: EarlyStopping | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def gather(self, step: int) -> TrainState:
        """The state after ``step`` steps; its tensors are the run's own, not copies."""
        tensors = {**self.optimizer.state(), **_generator_states(self.device)}
        if self.stopping is None:
            return TrainState(step, {}, tensors)
        if self.stopping.best_values is not None:
            tensors[_BEST] = self.stopping.best_values
        return TrainState(step, self.stopping.counts(), tensors)

    def restore(self, state: TrainState) -> None:
        """Put the run where it was when ``state`` was gathered.

        Raises:
            MismatchError: the state is not of a run like this one.
        """
        tensors = dict(state.tensors)
        best = tensors.pop(_BEST, None)
        values = self.optimizer.values
        expected = {**self.optimizer.state(), **_generator_states(self.device)}
        found = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        if found != {name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()}:
            raise MismatchError("the state to resume from is not of the same parameters")
        known = self.stopping is not None and state.stopping["best_step"] > 0
        if known != (best is not None) or (best is not None and best.shape != values.shape):
            raise MismatchError("the state to resume from has best values that do not fit")
        self.optimizer.load_state(tensors)
        torch.set_rng_state(tensors[_RNG["cpu"]])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[_RNG["cuda"]], self.device)
        if self.stopping is not None:
            moved = None if best is None else best.to(values.device)
            self.stopping.restore(state.stopping, moved)


@contextmanager
def seeded_generators(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's global generators seeded for one run (dropout draws from them), then put back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {_RNG["cpu"]: torch.get_rng_state()}
    if device.type == "cuda":
        states[_RNG["cuda"]] = torch.cuda.get_rng_state(device)
    return states


def kept_bytes(entries: int) -> int:
    """Most disk space that kept states of a run need: two of them, as the old one goes last.

    Args:
        entries: Number of live entries; each has a value, two moments and perhaps a best value.
    """
    return 2 * 4 * torch.float32.itemsize * entries
