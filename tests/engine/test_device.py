"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch

from talos_engine.device import Runtime, resolve_runtime
from talos_engine.errors import DeviceError, OptionError, TalosError


def test_cpu_and_precisions() -> None:
    assert resolve_runtime("cpu") == Runtime(torch.device("cpu"), torch.float32)
    assert resolve_runtime("cpu", "bfloat16").dtype is torch.bfloat16


def test_float32_computes_in_float32_and_bfloat16_under_autocast() -> None:
    matrix = torch.ones(2, 2)
    with resolve_runtime("cpu", "float32").autocast():
        assert (matrix @ matrix).dtype is torch.float32
    with resolve_runtime("cpu", "bfloat16").autocast():
        assert (matrix @ matrix).dtype is torch.bfloat16
    assert (matrix @ matrix).dtype is torch.float32


@pytest.mark.parametrize("name", ["gpu", "", "tpu:0", "cuda:x", "meta", "xpu", "cpu cuda"])
def test_unknown_devices_are_usage_errors(name: str) -> None:
    with pytest.raises(OptionError, match="unknown device") as caught:
        resolve_runtime(name)
    assert "cuda:N" in caught.value.hint


@pytest.mark.parametrize("name", ["float16", "half", "", "Float32"])
def test_unknown_dtypes_are_usage_errors(name: str) -> None:
    with pytest.raises(OptionError, match="unknown dtype") as caught:
        resolve_runtime("cpu", name)
    assert "float32, bfloat16" in caught.value.hint


def test_a_cuda_device_that_is_not_there_is_an_error_with_a_way_out() -> None:
    with pytest.raises(DeviceError, match="not there") as caught:
        resolve_runtime(f"cuda:{torch.cuda.device_count()}")
    assert caught.value.hint == "--device cpu"
    assert isinstance(caught.value, TalosError)


def test_auto_takes_the_cpu_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_runtime("auto").device.type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_runtime("auto").device.type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_runtime("auto").device.type == "cuda"


def test_threads_are_set_and_zero_leaves_them() -> None:
    before = torch.get_num_threads()
    try:
        resolve_runtime("cpu", threads=2)
        assert torch.get_num_threads() == 2
        resolve_runtime("cpu", threads=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(OptionError, match="threads"):
        resolve_runtime("cpu", threads=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_found() -> None:
    runtime = resolve_runtime("auto")
    assert runtime.device.type == "cuda"
    runtime.synchronize()
