"""Signals that wait: noted, delivered on request, the second one at once, handlers put back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from talos_engine.interrupts import HeldSignals, interrupts_blocked


class Ended(BaseException):
    pass


def end(number: int, frame: FrameType | None) -> None:
    raise Ended


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, end)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)]
)
def test_a_signal_waits_until_it_is_delivered_with_a_message(
    number: signal.Signals, error: type[BaseException]
) -> None:
    def work() -> None:
        with HeldSignals() as signals:
            assert not signals.pending
            signal.raise_signal(number)
            assert signals.pending
            signals.deliver("go on with --resume")
            pytest.fail("it must not go on")

    with pytest.raises(error) as caught:
        work()
    assert str(caught.value) == "go on with --resume"
    assert signal.getsignal(signal.SIGTERM) is end
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_happens() -> None:
    with HeldSignals() as signals:
        signals.deliver()
        assert not signals.pending
    assert signal.getsignal(signal.SIGTERM) is end


def test_a_second_signal_acts_at_once() -> None:
    steps = []

    def work() -> None:
        with HeldSignals():
            signal.raise_signal(signal.SIGTERM)
            steps.append("after the first")
            signal.raise_signal(signal.SIGINT)
            steps.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["after the first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_still_waits_at_the_end_acts_then() -> None:
    with pytest.raises(Ended), HeldSignals():
        signal.raise_signal(signal.SIGTERM)


def test_an_error_goes_before_a_signal_that_waits() -> None:
    def work() -> None:
        with HeldSignals():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert not signals.pending
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hold_nothing() -> None:
    seen = []

    def work() -> None:
        with HeldSignals() as signals:
            seen.append((signals.pending, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, end)]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)]
)
def test_what_starts_a_process_is_not_interrupted_halfway(
    number: signal.Signals, error: type[BaseException]
) -> None:
    steps = []

    def work() -> None:
        with interrupts_blocked():
            os.kill(os.getpid(), number)
            steps.append("started")
        steps.append("not reached")

    with pytest.raises(error):
        work()
    assert steps == ["started"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_held_twice_the_outer_one_decides() -> None:
    steps = []

    def work() -> None:
        with HeldSignals():
            with interrupts_blocked():
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("inside")
            steps.append("between")
        steps.append("not reached")

    with pytest.raises(Ended):
        work()
    assert steps == ["inside", "between"]
    assert signal.getsignal(signal.SIGTERM) is end


def test_held_twice_a_second_signal_acts_at_once() -> None:
    steps = []

    def work() -> None:
        with HeldSignals(), HeldSignals():
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("after the first")
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("after the second")

    with pytest.raises(Ended):
        work()
    assert steps == ["after the first"]
    assert signal.getsignal(signal.SIGTERM) is end
