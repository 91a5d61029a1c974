"""Grids that are killed, interrupted or asked for otherwise: what stays, goes on, is refused."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import read_resume, write_resume
from talos_engine.errors import CorruptFileError, MismatchError, OptionError, OutputError
from talos_engine.evaluation import disentanglement
from talos_engine.workflows import disentangle as module
from talos_engine.workflows import unfinished
from talos_engine.workflows.disentangle import DisentangleRequest, disentangle
from talos_engine.workflows.opening import Common
from talos_engine.workflows.unfinished import Persistence, resume_path

CPU = Common(device="cpu")
CELLS = 3 + 3 + 9
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads


def request_of(toy_files: Any, out: Path, **kept: Any) -> DisentangleRequest:
    vectors = (toy_files.vector("a", "nonlinear"), toy_files.vector("b", "nonlinear"))
    return DisentangleRequest(
        vectors, out, grid=3, reach=8.0, points=10, common=CPU, kept=Persistence(**kept)
    )


def at_cell(number: int, act: Callable[[], object]) -> Any:
    """``GridModels.answer`` that does something before it answers its ``number``-th question."""
    answer, asked = disentanglement.GridModels.answer, []

    def answering(self: Any, cell: Any) -> Any:
        asked.append(cell)
        if len(asked) == number:
            act()
        return answer(self, cell)

    return answering


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in(moment: str) -> None:
    if moment.startswith("at cell"):
        number = int(moment.rsplit(maxsplit=1)[-1])
        disentanglement.GridModels.answer = at_cell(number, die)  # type: ignore[method-assign]
    else:
        module.forget_unfinished = lambda out: die()


def run_in_child(work: Callable[[], object]) -> int:
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


MEASURED = {
    "at cell 2": 0,
    "at cell 5": 4,
    "at cell 10": 8,
    "at cell 15": 14,
    "after the result": 14,
}


@pytest.mark.parametrize("moment", MEASURED)
def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_run(
    toy_files: Any, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.json", tmp_path / "xi.json"
    disentangle(request_of(toy_files, whole))

    def work() -> None:
        killed_in(moment)
        disentangle(request_of(toy_files, out, checkpoint_every=2))

    assert run_in_child(work) == -signal.SIGKILL
    assert resume_path(out).exists() == (moment != "at cell 2")
    assert out.exists() == (moment == "after the result")
    request = request_of(toy_files, out, checkpoint_every=2, resume=True)
    request = dataclasses.replace(request, common=dataclasses.replace(CPU, force=True))
    asked: list[int] = []
    answer = disentanglement.GridModels.answer
    monkeypatch.setattr(
        disentanglement.GridModels,
        "answer",
        lambda self, cell: (asked.append(1), answer(self, cell))[1],
    )
    result = disentangle(request)
    assert result.first == MEASURED[moment]
    assert len(asked) == CELLS - result.first, "nothing is measured twice"
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.json", "xi.json"]


def interrupted(
    toy_files: Any, out: Path, monkeypatch: pytest.MonkeyPatch, number: int = 7, every: int = 100
) -> None:
    """A run that was stopped by Ctrl-C while a cell was measured."""
    stop = at_cell(number, lambda: signal.raise_signal(signal.SIGINT))
    with monkeypatch.context() as patch:
        patch.setattr(disentanglement.GridModels, "answer", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            disentangle(request_of(toy_files, out, checkpoint_every=every))
    told = f"{resume_path(out)} keeps what was done: the same command with --resume goes on"
    assert str(caught.value) == (told if every else "")


def test_ctrl_c_ends_the_cell_and_keeps_it_where_that_was_asked_for(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.json", tmp_path / "xi.json"
    disentangle(request_of(toy_files, whole))
    interrupted(toy_files, out, monkeypatch)
    assert read_resume(resume_path(out)).counts["step"] == 7
    assert disentangle(request_of(toy_files, out, resume=True)).first == 7
    assert out.read_bytes() == whole.read_bytes()
    interrupted(toy_files, tmp_path / "other.json", monkeypatch, every=0)
    assert not resume_path(tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": 4}, "grid was 3, is 4"),
        ({"reach": 2.0}, "range was 8.0, is 2.0"),
        ({"points": 9}, "points was 10, is 9"),
        ({"common": dataclasses.replace(CPU, seed=3)}, "seed was 0, is 3"),
        ({"common": dataclasses.replace(CPU, dtype="bfloat16")}, "dtype was float32, is bfloat16"),
        ({"tasks": ("toy-a", "toy-c")}, "second-task was toy-b, is toy-c"),
        ({"vectors": None}, "first was "),
    ],
    ids=str,
)
def test_another_grid_is_refused_and_the_difference_named(
    toy_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    words: str,
) -> None:
    out = tmp_path / "xi.json"
    interrupted(toy_files, out, monkeypatch)
    before = resume_path(out).read_bytes()
    if "vectors" in change:
        change = {"vectors": (toy_files.vector("a"), toy_files.vector("b"))}
    request = dataclasses.replace(request_of(toy_files, out, resume=True), **change)
    with pytest.raises(MismatchError, match="is the state of another run") as caught:
        disentangle(request)
    assert words in caught.value.message
    assert resume_path(out).read_bytes() == before
    assert not out.exists()


def test_other_threads_are_refused(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "xi.json"
    interrupted(toy_files, out, monkeypatch)
    monkeypatch.setattr(unfinished.torch, "get_num_threads", lambda: 7)
    with pytest.raises(MismatchError, match="threads was 1, is 7"):
        disentangle(request_of(toy_files, out, resume=True))


def test_an_unfinished_grid_is_not_lost_by_accident(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "xi.json"
    interrupted(toy_files, out, monkeypatch)
    with pytest.raises(OutputError, match="holds an unfinished run"):
        disentangle(request_of(toy_files, out))
    forced = dataclasses.replace(CPU, force=True)
    again = dataclasses.replace(request_of(toy_files, out), common=forced)
    assert disentangle(again).first == 0
    assert not resume_path(out).exists()


@pytest.mark.parametrize("name", ["alone.0", "differing", "step"])
@pytest.mark.parametrize("value", [-2, 11])
def test_a_state_that_no_grid_could_have_is_refused(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    out = tmp_path / "xi.json"
    interrupted(toy_files, out, monkeypatch)
    state = read_resume(resume_path(out))
    if name == "step":
        state.counts["step"] = 11 if value > 0 else 0
    elif name == "alone.0" and value > 0:
        state.tensors[name] = torch.zeros(3, 11, dtype=torch.int64)
    else:
        state.tensors[name].view(-1)[0] = value
    write_resume(resume_path(out), state)
    with pytest.raises(CorruptFileError, match="not those of such a grid"):
        disentangle(request_of(toy_files, out, resume=True))


@pytest.mark.parametrize(
    ("kept", "words"), [({"checkpoint_every": -1}, "--checkpoint-every"), ({}, "--jobs")]
)
def test_bad_numbers_are_named(
    toy_files: Any, tmp_path: Path, kept: dict[str, int], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        disentangle(
            dataclasses.replace(request_of(toy_files, tmp_path / "xi.json", **kept), jobs=0)
        )
    assert list(tmp_path.iterdir()) == []
