"""Where and in which precision tensors are computed. The one place that knows device names."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from talos_engine.errors import DeviceError, OptionError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Runtime:
    """A device and a compute precision.

    Args:
        device: Where the work runs.
        dtype: ``torch.float32``, or ``torch.bfloat16`` for autocast over float32 parameters.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which a forward pass runs."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def synchronize(self) -> None:
        """Wait for the device, so that a clock read afterwards is honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def resolve_runtime(device: str = "auto", dtype: str = "float32", threads: int = 0) -> Runtime:
    """The runtime for names as the command line writes them.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``float32`` or ``bfloat16`` (autocast).
        threads: Number of CPU threads; 0 leaves torch's own choice.

    Raises:
        OptionError: a name or number that means nothing.
        DeviceError: the device is not there.
    """
    if dtype not in DTYPES:
        raise OptionError(f"unknown dtype {dtype!r}", f"one of: {', '.join(DTYPES)}")
    if threads < 0:
        raise OptionError(f"threads must be 0 or more, not {threads}")
    if threads:
        torch.set_num_threads(threads)
    return Runtime(_resolve_device(device), DTYPES[dtype])


def _resolve_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(
            f"unknown device {name!r}", "one of: auto, cpu, cuda, cuda:N, mps"
        ) from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise OptionError(f"unknown device {name!r}", "one of: auto, cpu, cuda, cuda:N, mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(f"device {name} is not there: {found} CUDA devices found", "--device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is not there", "--device cpu")
    return device
