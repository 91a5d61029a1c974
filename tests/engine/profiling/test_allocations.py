"""The allocator's peaks to the byte, where every tensor's size is known."""

from __future__ import annotations

import os

import pytest
import torch

from talos_engine.profiling.allocations import PhasePeak, replay, watch_allocator

MEBI = 2**20
CPU = torch.device("cpu")


def block(mebibytes: int, device: str = "cpu") -> torch.Tensor:
    return torch.empty(mebibytes * MEBI, dtype=torch.uint8, device=device)


def test_peaks_by_hand() -> None:
    events = [
        (5, "talos phase: b", 0, 0),
        (1, "talos phase: a", 0, 0),
        (2, "", 111, 10),
        (3, "", 222, 30),
        (4, "", 222, -30),
        (6, "", 999, -500),  # was there before anyone looked
        (7, "", 222, 5),
        (8, "", 111, -10),
    ]
    assert replay(events) == {"a": PhasePeak(0, 40), "b": PhasePeak(10, 15)}
    again = [*events, (9, "talos phase: a", 0, 0), (10, "", 333, 1)]
    assert replay(again) == {"b": PhasePeak(10, 15), "a": PhasePeak(5, 6)}


def test_every_block_counts_while_it_lives_and_no_longer() -> None:
    old = block(7)
    with watch_allocator(CPU) as watch:
        watch.enter("first")
        kept = block(3)
        block(5)  # gone at once
        watch.enter("second")
        del old
        more = block(1)
        assert watch.peaks == {}
    assert watch.source == "profiler"
    assert watch.peaks == {
        "first": PhasePeak(0, 8 * MEBI),
        "second": PhasePeak(3 * MEBI, 4 * MEBI),
    }
    with watch_allocator(CPU) as watch:
        watch.enter("of another watch")
        del kept, more
        block(1)
    assert watch.peaks == {"of another watch": PhasePeak(0, MEBI)}


@pytest.mark.parametrize("differentiable", [True, False])
def test_what_is_saved_for_the_backward_pass_counts_until_then(differentiable: bool) -> None:
    weight = torch.zeros(MEBI // 4, requires_grad=differentiable)
    with watch_allocator(CPU) as watch:
        watch.enter("forward")
        loss = weight.exp().sum()  # exp keeps its result, 1 MiB
        watch.enter("backward")
        if differentiable:
            loss.backward()
    forward, backward = watch.peaks["forward"], watch.peaks["backward"]
    assert forward.peak_bytes == pytest.approx(MEBI, abs=64)
    assert backward.start_bytes == pytest.approx(MEBI if differentiable else 0, abs=64)
    added = backward.peak_bytes - backward.start_bytes
    assert added == pytest.approx(MEBI if differentiable else 0, abs=64), "the gradient"


def test_the_profiler_does_not_talk(capfd: pytest.CaptureFixture[str]) -> None:
    old = block(1)
    with watch_allocator(CPU) as watch:
        watch.enter("only")
        del old  # of which torch complains
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_an_error_passes_through_and_leaves_no_peaks() -> None:
    with pytest.raises(KeyError), watch_allocator(CPU) as watch:  # noqa: PT012
        watch.enter("only")
        raise KeyError
    assert watch.peaks == {}
    assert not torch.autograd._profiler_enabled()


def test_a_device_that_tells_no_peaks_has_none() -> None:
    with watch_allocator(torch.device("mps")) as watch:
        watch.enter("only")
    assert (watch.source, watch.peaks) == ("none", {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_peaks_are_the_caching_allocators() -> None:
    old = block(7, "cuda")
    with watch_allocator(torch.device("cuda")) as watch:
        watch.enter("first")
        kept = block(4, "cuda")
        block(6, "cuda")
        watch.enter("second")
        more = block(2, "cuda")
    assert watch.source == "cuda"
    assert watch.peaks == {
        "first": PhasePeak(0, 10 * MEBI),
        "second": PhasePeak(4 * MEBI, 6 * MEBI),
    }
    del old, kept, more
