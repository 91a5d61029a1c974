"""Runs that are killed, interrupted or doubled: what stays, what goes on, what is refused."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_checkpoint, read_resume, reserve_output, write_resume
from talos_engine.errors import (
    CorruptFileError,
    MismatchError,
    OptionError,
    OutputError,
    TrainingError,
    WrongKindError,
)
from talos_engine.training import loop
from talos_engine.workflows import finetune as module
from talos_engine.workflows import unfinished
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.opening import Common
from talos_engine.workflows.training_log import TrainingLog, is_training_log
from talos_engine.workflows.unfinished import Persistence, resume_path

CPU = Common(device="cpu")
METHODS = ("talos", "nonlinear", "linearized", "l-lora")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads


def request_of(toy_files: Any, out: Path, method: str, **kept: Any) -> FinetuneRequest:
    return FinetuneRequest(
        "toy-clip",
        "toy-a",
        method,
        out,
        mask=toy_files.mask("a") if method == "talos" else None,
        training={"steps": 9, "early_stop": 6, "validate_every": 2, "weight_decay": 0.1},
        common=CPU,
        kept=Persistence(**kept),
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in(moment: str) -> None:
    """Arrange, in the child, that it kills itself at a moment; states are saved every 3 steps."""
    step, write = loop._take_step, unfinished.write_resume
    if moment.startswith("in step"):
        fatal = int(moment.rsplit(maxsplit=1)[-1])

        def stepping(*arguments: Any) -> Any:
            record = step(*arguments)
            if record.step == fatal:  # after the update, before anything is told
                die()
            return record

        loop._take_step = stepping
    elif moment == "within a line of the log":

        def halving(log: TrainingLog, number: int, **facts: Any) -> None:
            assert log._file is not None
            log._file.write('{"step": 1, "lo')
            log._file.flush()
            die()

        TrainingLog.write = halving  # type: ignore[method-assign]
    elif moment == "while the second state is written":
        calls: list[Path] = []

        def writing(path: Path, state: Any) -> None:
            calls.append(path)
            if len(calls) == 2:
                get = dict(state.tensors)
                state = dataclasses.replace(state, tensors=Fatal(get))
            write(path, state)

        unfinished.write_resume = writing
    else:
        module.forget_unfinished = lambda out: die()


class Fatal(dict[str, Any]):
    """Tensors whose last one is never written."""

    def __getitem__(self, name: str) -> Any:
        if name == "rng.cpu":  # bytes come last in the file
            die()
        return super().__getitem__(name)


def run_in_child(work: Callable[[], object]) -> int:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


MOMENTS = (
    "within a line of the log",
    "in step 2",
    "in step 5",
    "while the second state is written",
    "in step 9",
    "after the checkpoint",
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_run(
    toy_files: Any, tmp_path: Path, method: str, moment: str
) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "c.safetensors"
    log = tmp_path / "log.jsonl"
    finetune(request_of(toy_files, whole, method))

    def work() -> None:
        killed_in(moment)
        finetune(request_of(toy_files, out, method, checkpoint_every=3, log=log))

    assert run_in_child(work) == -signal.SIGKILL
    finished = moment == "after the checkpoint"
    assert out.exists() == finished
    assert resume_path(out).exists() == (moment not in ("in step 2", "within a line of the log"))
    assert log.exists()
    request = request_of(toy_files, out, method, checkpoint_every=3, resume=True, log=log)
    if finished:
        with pytest.raises(OutputError, match="exists already"):
            finetune(request)
        request = dataclasses.replace(request, common=dataclasses.replace(CPU, force=True))
    result = finetune(request)
    known = {
        "within a line of the log": 0,
        "in step 2": 0,
        "in step 5": 3,
        "while the second state is written": 3,
    }
    assert result.first == known.get(moment, 6)
    assert result.steps == 9
    assert out.read_bytes() == whole.read_bytes()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.safetensors",
        "log.jsonl",
        "whole.safetensors",
    ], "no state, no stray temporary, no lock"


def test_what_a_killed_writer_left_is_cleaned_by_a_run_that_saves_nothing(
    toy_files: Any, tmp_path: Path
) -> None:
    out = tmp_path / "c.safetensors"

    def work() -> None:
        killed_in("while the second state is written")
        finetune(request_of(toy_files, out, "talos", checkpoint_every=3))

    assert run_in_child(work) == -signal.SIGKILL
    assert any("tmp-talos" in path.name for path in tmp_path.iterdir()), "there is a stray"
    finetune(request_of(toy_files, out, "talos", resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_killed_twice(toy_files: Any, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "c.safetensors"
    finetune(request_of(toy_files, whole, "talos"))
    for moment in ("in step 5", "in step 8"):

        def work(moment: str = moment) -> None:
            killed_in(moment)
            finetune(request_of(toy_files, out, "talos", checkpoint_every=3, resume=True))

        assert run_in_child(work) == -signal.SIGKILL
    assert finetune(request_of(toy_files, out, "talos", resume=True)).first == 6
    assert out.read_bytes() == whole.read_bytes()


def interrupted(
    toy_files: Any, out: Path, monkeypatch: pytest.MonkeyPatch, at: int = 4, **kept: Any
) -> None:
    """A run that was stopped by Ctrl-C in one of its steps."""
    step = loop._take_step

    def stepping(*arguments: Any) -> Any:
        record = step(*arguments)
        if record.step == at:
            signal.raise_signal(signal.SIGINT)
        return record

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_take_step", stepping)
        with pytest.raises(KeyboardInterrupt):
            finetune(request_of(toy_files, out, "talos", **{"checkpoint_every": 100, **kept}))


def test_ctrl_c_saves_the_state_where_that_was_asked_for(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "c.safetensors"
    finetune(request_of(toy_files, whole, "talos"))
    interrupted(toy_files, out, monkeypatch)
    assert read_resume(resume_path(out)).counts["step"] == 4
    result = finetune(request_of(toy_files, out, "talos", resume=True))
    assert (result.first, len(result.records)) == (4, 5)
    assert out.read_bytes() == whole.read_bytes()
    interrupted(toy_files, tmp_path / "d", monkeypatch, checkpoint_every=0)
    assert not resume_path(tmp_path / "d").exists()


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "lr": ({"training": {"lr": 0.5}}, "lr was 0.003, is 0.5"),
    "grad-accum": ({"training": {"grad_accum": 2}}, "grad-accum was 1, is 2"),
    "seed": ({"common": dataclasses.replace(CPU, seed=3)}, "seed was 0, is 3"),
    "dtype": ({"common": dataclasses.replace(CPU, dtype="bfloat16")}, "dtype was float32"),
    "task": ({"task": "toy-b"}, "task was toy-a, is toy-b"),
    "method": ({"method": "nonlinear", "mask": None}, "method was talos, is nonlinear"),
    "model": ({"model": "CHECKPOINT", "mask": None, "method": "nonlinear"}, "base was "),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_run_is_refused_and_the_difference_named(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = tmp_path / "c.safetensors"
    interrupted(toy_files, out, monkeypatch)
    before = resume_path(out).read_bytes()
    change, words = OTHER[name]
    request = request_of(toy_files, out, "talos", resume=True)
    training = {**request.training, **change.get("training", {})}
    request = dataclasses.replace(request, **{**change, "training": training})
    if request.model == "CHECKPOINT":
        request = dataclasses.replace(request, model=str(toy_files.checkpoint("b")))
    with pytest.raises(MismatchError, match="is the state of another run") as caught:
        finetune(request)
    assert words in caught.value.message
    assert resume_path(out).read_bytes() == before
    assert not out.exists()


def test_other_threads_are_refused(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.safetensors"
    interrupted(toy_files, out, monkeypatch)
    monkeypatch.setattr(unfinished.torch, "get_num_threads", lambda: 7)
    with pytest.raises(MismatchError, match="threads was 1, is 7"):
        finetune(request_of(toy_files, out, "talos", resume=True))


def test_what_changes_no_tensor_may_change(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.safetensors"
    interrupted(toy_files, out, monkeypatch)
    kept = {"resume": True, "checkpoint_every": 2, "log": tmp_path / "log"}
    assert finetune(request_of(toy_files, out, "talos", **kept)).first == 4


def test_an_unfinished_run_is_not_lost_by_accident(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.safetensors"
    interrupted(toy_files, out, monkeypatch)
    with pytest.raises(OutputError, match="holds an unfinished run") as caught:
        finetune(request_of(toy_files, out, "talos"))
    assert "--resume" in caught.value.hint
    assert "--force" in caught.value.hint
    forced = dataclasses.replace(CPU, force=True)
    again = dataclasses.replace(request_of(toy_files, out, "talos"), common=forced)
    assert finetune(again).first == 0
    assert not resume_path(out).exists()


def test_resume_without_a_state_starts_at_the_first_step(toy_files: Any, tmp_path: Path) -> None:
    result = finetune(request_of(toy_files, tmp_path / "c", "talos", resume=True))
    assert (result.first, result.steps) == (0, 9)


def test_a_broken_down_run_keeps_its_last_good_state(toy_files: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    request = request_of(toy_files, out, "nonlinear", checkpoint_every=1)
    training = {"lr": 1e30, "warmup": 0, "steps": 5}
    with pytest.raises(TrainingError, match="at step 2"):
        finetune(dataclasses.replace(request, training=training))
    assert read_resume(resume_path(out)).counts["step"] == 1
    assert not out.exists()


def test_after_a_broken_down_run_the_hint_says_how_to_start_over(
    toy_files: Any, tmp_path: Path
) -> None:
    out = tmp_path / "c.safetensors"
    forced = dataclasses.replace(CPU, force=True)

    def attempt(lr: float, *, every: int = 1, common: Common = CPU, **kept: Any) -> Any:
        request = request_of(toy_files, out, "nonlinear", checkpoint_every=every, **kept)
        training = {"lr": lr, "warmup": 0, "steps": 5}
        return finetune(dataclasses.replace(request, training=training, common=common))

    with pytest.raises(TrainingError, match="at step 2") as caught:
        attempt(1e30, every=3)
    assert "--force" not in caught.value.hint, "no state was kept yet"
    assert attempt(1e-3, every=3).first == 0
    out.unlink()
    with pytest.raises(TrainingError, match="at step 2") as caught:
        attempt(1e30)
    assert caught.value.hint.startswith("try a lower --lr")
    assert f"{resume_path(out)} belongs to this run" in caught.value.hint
    assert "--force and without --resume" in caught.value.hint
    with pytest.raises(OutputError, match="unfinished run"):
        attempt(1e-3)
    for common in (CPU, forced):
        with pytest.raises(MismatchError, match="lr was"):
            attempt(1e-3, resume=True, common=common)
    assert attempt(1e-3, common=forced).first == 0


@pytest.mark.parametrize("damage", ["cut", "checkpoint", "counts", "late"])
def test_a_state_that_cannot_be_used_is_refused(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    out = tmp_path / "c.safetensors"
    interrupted(toy_files, out, monkeypatch)
    path = resume_path(out)
    state = read_resume(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "checkpoint":
        path.write_bytes(toy_files.checkpoint("a").read_bytes())
    elif damage == "counts":
        write_resume(path, dataclasses.replace(state, counts={"step": 4}))
    else:
        write_resume(path, dataclasses.replace(state, counts={**state.counts, "step": 10}))
    error = WrongKindError if damage == "checkpoint" else CorruptFileError
    with pytest.raises(error, match="resume"):
        finetune(request_of(toy_files, out, "talos", resume=True))
    assert not out.exists()


def test_a_second_run_of_the_same_output_is_refused(toy_files: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    forced = dataclasses.replace(CPU, force=True)
    request = dataclasses.replace(request_of(toy_files, out, "talos"), common=forced)
    with reserve_output(out), pytest.raises(OutputError, match="another run is writing"):
        finetune(request)
    assert list(tmp_path.iterdir()) == []
    finetune(request)


def test_the_log_has_a_line_per_step_and_measurement(toy_files: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    result = finetune(request_of(toy_files, tmp_path / "c", "talos", log=log))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [(line["step"], line["loss"], line["lr"]) for line in steps] == [
        (record.step, record.loss, record.lr) for record in result.records
    ]
    measured = [line for line in lines if "validation_accuracy" in line]
    assert [line["step"] for line in measured] == [2, 4, 6, 8, 9]
    assert result.stopping is not None
    best = max(measured, key=lambda line: (line["validation_accuracy"], -line["step"]))
    assert best["step"] == result.stopping.best_step
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert times[0] > 1.7e9


def test_the_log_changes_no_byte_of_the_checkpoint(toy_files: Any, tmp_path: Path) -> None:
    finetune(request_of(toy_files, tmp_path / "a", "talos", log=tmp_path / "log"))
    finetune(request_of(toy_files, tmp_path / "b", "talos"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_log_of_a_resumed_run_goes_on(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, log = tmp_path / "c.safetensors", tmp_path / "log.jsonl"
    interrupted(toy_files, out, monkeypatch, log=log)
    with log.open("a") as file:  # a killed run may have written more, the last line in part
        file.write('{"step": 5, "loss": 9.0, "time": 0}\n{"step": 6, "lo')
    finetune(request_of(toy_files, out, "talos", resume=True, log=log))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert 9.0 not in [line.get("loss") for line in lines]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", True),
        ('{"step": 1, "loss": 2.0}\n{"step": 1, "drift": 0}\n', True),
        ('{"step": 1, "loss": 2.0}\n{"st', True),
        ('{"step": 12', True),
        ("precious", False),
        ("precious\n", False),
        ('{"step": 1}\nprecious\n', False),
        ('{"step": 1}\nprecious', False),
        ('{"step": true}\n', False),
        ('{"epoch": 1}\n', False),
        ("[1]\n", False),
        ("\n", False),
        ("[" * 100_000 + "\n", False),
        (b'{"step": 1}\n\xff\xfe\n', False),
        (b"\0" * 5_000_000, False),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("state", [True, False], ids=["state", "no state"])
def test_only_a_log_is_gone_on_with(
    toy_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | bytes,
    known: bool,
    state: bool,
) -> None:
    out, log = tmp_path / "c.safetensors", tmp_path / "log.jsonl"
    content = text if isinstance(text, bytes) else text.encode()
    log.write_bytes(content)
    if state:
        resume_path(out).write_bytes(b"there is one")
    kept = Persistence(resume=True, log=log)
    assert is_training_log(log) == known
    if known:
        unfinished.check_persistence(out, kept, force=False)
    else:
        with pytest.raises(OutputError, match="no log that a run could go on with"):
            unfinished.check_persistence(out, kept, force=False)
        unfinished.check_persistence(out, kept, force=True)
    assert log.read_bytes() == content
    with pytest.raises(OutputError, match="unfinished run" if state else "exists already"):
        unfinished.check_persistence(out, Persistence(log=log), force=False)


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    kept = Persistence(resume=True, log=tmp_path / "pipe")
    with pytest.raises(OutputError, match="not a regular file"):
        unfinished.check_persistence(tmp_path / "c", kept, force=True)


def test_outputs_of_similar_names_have_states_of_their_own(tmp_path: Path) -> None:
    states = [resume_path(tmp_path / name) for name in ("c", "c.safetensors", "c.ckpt")]
    assert len({*states}) == 3
    assert all(state.parent == tmp_path for state in states)


@pytest.mark.parametrize("which", ["exists", "out", "state", "folder"])
def test_a_log_that_cannot_be_written_is_found_before_the_work(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    out = tmp_path / "c.safetensors"
    log = {
        "exists": tmp_path / "log",
        "out": out,
        "state": resume_path(out),
        "folder": tmp_path / "nowhere" / "log",
    }[which]
    (tmp_path / "log").write_text("precious")
    monkeypatch.setattr(module, "train", lambda job: pytest.fail("trained for nothing"))
    with pytest.raises(OptionError if which in ("out", "state") else OutputError):
        finetune(request_of(toy_files, out, "talos", log=log))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_text() == "precious"


def test_early_stopping_writes_the_best_state(toy_files: Any, tmp_path: Path) -> None:
    """The same bytes in the encoder as a run that is cut off at the best step."""
    request = request_of(toy_files, tmp_path / "c", "talos")
    training = {"steps": 40, "early_stop": 2, "validate_every": 3, "schedule": "constant"}
    result = finetune(dataclasses.replace(request, training={**training, "lr": 0.05}))
    assert result.stopping is not None
    assert result.stopping.over
    assert result.steps == result.stopping.best_step + 6 < 40
    short = {"steps": result.stopping.best_step, "schedule": "constant", "lr": 0.05, "warmup": 2}
    finetune(dataclasses.replace(request, out=tmp_path / "d", training={**short}))
    ours, cut = (read_checkpoint(tmp_path / name).tensors for name in "cd")
    for name, value in cut.items():
        assert value.equal(ours[name]), name


def test_by_default_twenty_measurements_are_made(toy_files: Any, tmp_path: Path) -> None:
    request = request_of(toy_files, tmp_path / "c", "talos")
    for steps, every in ((9, 1), (60, 3)):
        asked = dataclasses.replace(request, training={"steps": steps, "early_stop": 1})
        assert module.resolve_training(asked).validate_every == every
    with pytest.raises(OptionError, match="--validate-every only goes with"):
        finetune(dataclasses.replace(request, training={"validate_every": 3}))


def test_the_drift_is_logged_and_changes_no_byte(toy_files: Any, tmp_path: Path) -> None:
    finetune(request_of(toy_files, tmp_path / "a", "talos", log=tmp_path / "log", log_drift=4))
    finetune(request_of(toy_files, tmp_path / "b", "talos"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    drifts = [line for line in lines if "drift" in line]
    assert [line["step"] for line in drifts] == [4, 8]
    assert 0 < drifts[0]["relative_drift"] < drifts[1]["relative_drift"]


def test_drift_needs_a_log_and_a_method_that_trains_in_place(
    toy_files: Any, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="--log-drift writes into the log"):
        Persistence(log_drift=3)
    for method in ("linearized", "l-lora"):
        request = request_of(toy_files, tmp_path / "c", method, log=tmp_path / "l", log_drift=3)
        with pytest.raises(OptionError, match="--log-drift does not go with"):
            finetune(request)
    assert list(tmp_path.iterdir()) == []
