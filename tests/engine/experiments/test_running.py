"""Runs of recipes whose commands only copy bytes: what is made, skipped, made again and reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from talos_engine.errors import OptionError, OutputError, RecipeError

CHAIN = """
title = "a chain"
[settings]
tasks = ["a", "b"]
steps = 3
[steps.mask]
command = "calibrate"
each = { task = "{tasks}" }
options = { task = "{task}" }
[steps.train]
command = "finetune"
each = "mask"
options = { mask = { step = "mask" }, steps = "{steps}" }
[steps.merge]
command = "add"
arguments = [{ step = "train" }]
"""
ALL = ["mask.a", "mask.b", "train.a", "train.b", "merge"]


def run_json(lab: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((lab.folder / "run" / "run.json").read_text())
    return content


def states(lab: Any) -> dict[str, str]:
    return {step["id"]: step["state"] for step in run_json(lab)["steps"]}


def test_everything_runs_once_in_order_and_a_second_run_skips_it(lab: Any) -> None:
    result = lab.run(CHAIN)
    assert sorted(lab.ran) == sorted(ALL)
    assert lab.ran.index("mask.a") < lab.ran.index("train.a") < lab.ran.index("merge")
    assert result.all_done
    assert lab.launcher.started[0][-1] == "--force"
    before = lab.files()
    assert b"train/a.ckpt.safetensors" in before["merge/merge.safetensors"]
    again = lab.run(CHAIN)
    assert lab.ran == []
    assert lab.launcher.started == []
    assert again.count("done", skipped=True) == 5
    assert lab.files() == before


def test_run_json_tells_what_the_folder_holds(lab: Any) -> None:
    lab.run(CHAIN)
    found = run_json(lab)
    assert (found["schema"], found["name"], found["title"]) == (1, "recipe", "a chain")
    assert found["settings"] == {"tasks": ["a", "b"], "steps": 3}
    assert found["environment"]["cores"] >= 1
    step = next(it for it in found["steps"] if it["id"] == "train.a")
    assert step["group"] == "train"
    assert step["variables"] == {"task": "a"}
    assert step["inputs"] == ["artifacts/mask/a.mask.safetensors"]
    assert step["outputs"] == ["artifacts/train/a.ckpt.safetensors"]
    assert (step["state"], step["exit_code"], step["log"]) == ("done", 0, "logs/train.a.log")
    assert step["seconds"] > 0
    assert len(step["key"]) == 64
    assert (lab.folder / "run" / "recipe.toml").read_text() == CHAIN


def test_a_changed_option_redoes_it_and_what_is_below(lab: Any) -> None:
    lab.run(CHAIN)
    lab.run(CHAIN.replace("steps = 3", "steps = 4"))
    assert sorted(lab.ran) == ["merge", "train.a", "train.b"]
    lab.run(CHAIN.replace("steps = 3", "steps = 4"))
    assert lab.ran == []
    lab.run(CHAIN, settings={"steps": 4})
    assert lab.ran == []


def test_a_changed_or_lost_output_is_made_again_and_nothing_below_where_it_is_the_same(
    lab: Any,
) -> None:
    lab.run(CHAIN)
    before = lab.files()
    mask = lab.folder / "run" / "artifacts" / "mask" / "a.mask.safetensors"
    mask.write_bytes(b"tampered with")
    lab.run(CHAIN)
    assert lab.ran == ["mask.a"], "what is below is made of the same bytes as before"
    mask.unlink()
    lab.run(CHAIN)
    assert lab.ran == ["mask.a"]
    assert lab.files() == before


def test_a_file_that_was_only_touched_is_not_made_again(lab: Any) -> None:
    lab.run(CHAIN)
    for path in (lab.folder / "run" / "artifacts").rglob("*.safetensors"):
        os.utime(path, (1, 1))
    lab.run(CHAIN)
    assert lab.ran == []


def test_changed_external_data_redo_what_reads_them(lab: Any) -> None:
    text = CHAIN.replace('options = { task = "{task}" }',
                         'options = { task = "{task}", data = { file = "folder" } }')  # fmt: skip
    (lab.folder / "folder").mkdir()
    (lab.folder / "folder" / "a.csv").write_text("1")
    lab.run(text)
    (lab.folder / "folder" / "b.csv").write_text("2")
    lab.run(text)
    assert {"mask.a", "mask.b"} <= set(lab.ran)
    (lab.folder / "folder").rename(lab.folder / "elsewhere")
    lab.run(text.replace('"folder"', '"elsewhere"'))
    assert not any(name.startswith("train") for name in lab.ran)


def test_another_version_of_what_computes_redoes_everything(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(CHAIN)
    monkeypatch.setattr("talos_engine.experiments.states.__version__", "99")
    lab.run(CHAIN)
    assert {"mask.a", "mask.b"} <= set(lab.ran)


FAILING = CHAIN.replace('options = { task = "{task}" }',
                        'options = { task = "{task}", fail = "../fails.{task}" }')  # fmt: skip


def test_a_failed_step_stops_the_run_and_is_reported(lab: Any) -> None:
    (lab.folder / "fails.a").touch()
    result = lab.run(FAILING)
    assert lab.ran == ["mask.a"]
    assert not result.all_done
    outcome = result.outcomes["mask.a"]
    assert (outcome.state, outcome.exit_code) == ("failed", 3)
    assert "told to fail" in result.log("mask.a").read_text()
    assert states(lab) == {"mask.a": "failed", **dict.fromkeys(ALL[1:], "pending")}


def test_keep_going_runs_what_does_not_need_the_failed_step(lab: Any) -> None:
    (lab.folder / "fails.a").touch()
    result = lab.run(FAILING, keep_going=True)
    assert sorted(lab.ran) == ["mask.a", "mask.b", "train.b"]
    assert result.count("pending") == 2
    (lab.folder / "fails.a").unlink()
    assert lab.run(FAILING).all_done
    assert sorted(lab.ran) == ["mask.a", "merge", "train.a"]


def test_a_step_that_ends_well_without_its_output_has_failed(lab: Any) -> None:
    text = '[steps.a]\ncommand = "inspect"\noptions = { plot = { output = ".png" } }'
    outcome = lab.run(text).outcomes["a"]
    assert outcome.state == "failed"
    assert "a.png" in outcome.told


def test_two_jobs_make_the_same_bytes_as_one(lab: Any, tmp_path_factory: Any) -> None:
    lab.run(CHAIN, jobs=1)
    one = lab.files()
    (lab.folder / "run").rename(lab.folder / "first")
    lab.run(CHAIN, jobs=2)
    assert lab.files() == one


def concurrent(lab: Any) -> int:
    """The most steps that ran at one time in the last run."""
    running, most = 0, 0
    for _, outcome in lab.events:
        running += 1 if outcome is None else -1
        most = max(most, running)
    return most


def test_no_more_steps_than_jobs_and_nothing_beside_an_exclusive_one(lab: Any) -> None:
    text = '[steps.a]\ncommand = "inspect"\neach = { n = [1, 2, 3, 4, 5] }\noptions = { n = "{n}" }'
    lab.run(text, jobs=3)
    assert concurrent(lab) == 3
    lab.run(text.replace("inspect", "profile") + "\nexclusive = true", jobs=3)
    assert concurrent(lab) == 1


def test_an_interrupted_training_run_is_resumed_and_another_one_is_not(lab: Any) -> None:
    text = CHAIN.replace("options = { mask", "options = { checkpoint-every = 5, mask")
    lab.run(text)
    assert not any("--resume" in words for words in lab.launcher.started)
    path = lab.folder / "run" / ".state" / "train.a.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "state": "started"}))  # as a kill leaves it
    lab.run(text)
    assert [words for words in lab.launcher.started if "--resume" in words] == [
        words for words in lab.launcher.started if words[0] == "finetune"
    ]
    path.write_text(json.dumps({**content, "state": "started"}))
    lab.run(text, settings={"steps": 9})
    assert not any("--resume" in words for words in lab.launcher.started)


def test_damaged_records_are_not_believed(lab: Any) -> None:
    lab.run(CHAIN)
    for name, text in {"mask.a": "{", "mask.b": '{"schema": 9}', "merge": "[]"}.items():
        (lab.folder / "run" / ".state" / f"{name}.json").write_text(text)
    lab.run(CHAIN)
    assert sorted(lab.ran) == ["mask.a", "mask.b", "merge"]


def test_only_runs_what_fits_and_what_that_needs(lab: Any) -> None:
    lab.run(CHAIN, only=("train.a",))
    assert lab.ran == ["mask.a", "train.a"]
    assert states(lab)["merge"] == "pending"
    lab.run(CHAIN, only=("ma*", "train"))
    assert lab.ran == ["mask.b", "train.b"]
    with pytest.raises(RecipeError, match="'nothing' fits no step"):
        lab.run(CHAIN, only=("nothing",))


def test_a_plan_writes_nothing_and_tells_what_would_run(lab: Any) -> None:
    prepared, _ = lab.prepare(CHAIN)
    assert not (lab.folder / "run").exists()
    assert prepared.plan.estimate(1) == (0.0, 5)
    lab.run(CHAIN)
    before = {path: path.stat().st_mtime_ns for path in (lab.folder / "run").rglob("*")}
    prepared, _ = lab.prepare(CHAIN, settings={"steps": 4})
    assert prepared.plan.done == {"mask.a", "mask.b"}
    seconds, unknown = prepared.plan.estimate(2)
    recorded = {step["id"]: step["seconds"] for step in run_json(lab)["steps"]}
    expected = recorded["train.a"] + recorded["train.b"] + recorded["merge"]
    assert seconds == pytest.approx(expected / 2)
    assert unknown == 0
    longer, _ = lab.prepare(CHAIN, settings={"tasks": ["a", "b", "c"]})
    group = next(it for it in longer.plan.groups if it.name == "train")
    assert (group.total, group.done, group.unknown) == (3, 2, 0)
    assert group.seconds == pytest.approx((recorded["train.a"] + recorded["train.b"]) / 2)
    assert {path: path.stat().st_mtime_ns for path in (lab.folder / "run").rglob("*")} == before


def test_a_new_group_is_guessed_from_the_same_command_in_the_folder(lab: Any) -> None:
    lab.run(CHAIN)
    recorded = {step["id"]: step["seconds"] for step in run_json(lab)["steps"]}
    more = CHAIN + (
        '[steps.other]\ncommand = "calibrate"\neach = { task = ["c", "d"] }\n'
        'options = { task = "{task}" }\n'
        '[steps.test]\ncommand = "evaluate"\narguments = [{ step = "merge" }]\n'
    )
    prepared, _ = lab.prepare(more)
    groups = {it.name: it for it in prepared.plan.groups}
    assert groups["other"].seconds == pytest.approx(recorded["mask.a"] + recorded["mask.b"])
    assert (groups["other"].guessed, groups["other"].unknown) == (2, 0)
    assert (groups["test"].guessed, groups["test"].unknown) == (0, 1), "nothing of its command"
    assert groups["mask"].guessed == 0
    assert (prepared.plan.guessed, prepared.plan.estimate(1)[1]) == (2, 1)


def test_a_folder_that_holds_something_else_is_left_alone(lab: Any) -> None:
    (lab.folder / "run").mkdir()
    (lab.folder / "run" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="something else than a run"):
        lab.run(CHAIN)
    (lab.folder / "run" / "thesis.tex").unlink()
    (lab.folder / "run").rmdir()
    (lab.folder / "run").touch()
    with pytest.raises(OutputError, match="no folder"):
        lab.run(CHAIN)


def test_two_runs_of_one_folder_do_not_mix(lab: Any) -> None:
    from talos_engine.artifacts import reserve_output

    lab.run(CHAIN)
    with (
        reserve_output(lab.folder / "run" / "run.json"),
        pytest.raises(OutputError, match=r"run\.json"),
    ):
        lab.run(CHAIN)


def test_jobs_must_be_at_least_one(lab: Any) -> None:
    with pytest.raises(OptionError, match="jobs"):
        lab.run(CHAIN, jobs=0)


def test_a_command_line_that_cannot_be_meant_names_its_table(lab: Any) -> None:
    from talos_engine.experiments.running import RunRequest, prepare

    def check(step: Any) -> None:
        if step.group == "train":
            raise RecipeError("no such option: --steps")

    with pytest.raises(RecipeError) as error:
        prepare(RunRequest(lab.write(CHAIN), lab.folder / "run"), check)
    assert "recipe.toml: [steps.train]: no such option" in error.value.message
    assert "talos finetune --mask" in error.value.hint


DRIVER = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import importlib.util
spec = importlib.util.spec_from_file_location("laboratory", sys.argv[1] + "/conftest.py")
module = importlib.util.module_from_spec(spec)
sys.modules["laboratory"] = module
spec.loader.exec_module(module)
folder = pathlib.Path(sys.argv[2])
lab = module.Laboratory(folder)
lab.run((folder / "recipe.toml").read_text(), jobs=2)
"""
LIMIT_S = 120


def both_run(pid: int) -> bool:
    """Whether two commands have begun: before that they are still copies of who starts them."""
    try:
        return sum("-S" in it.cmdline() for it in psutil.Process(pid).children()) == 2
    except psutil.Error:
        return False


def test_a_run_that_is_killed_goes_on_with_the_same_bytes(lab: Any) -> None:
    waiting = CHAIN.replace('steps = "{steps}" }', 'steps = "{steps}", wait = "../go" }')
    lab.write(waiting)
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(lab.folder)],
        start_new_session=True,
    )
    started = [lab.folder / "run" / ".state" / f"train.{task}.json" for task in "ab"]
    deadline = time.monotonic() + LIMIT_S
    while not all(path.exists() for path in started) or not both_run(process.pid):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (lab.folder / "go").touch()
    assert states(lab)["mask.a"] == "done"
    assert lab.run(waiting).all_done
    assert sorted(lab.ran) == ["merge", "train.a", "train.b"]
    resumed = lab.files()
    (lab.folder / "run").rename(lab.folder / "killed")
    lab.run(waiting)
    assert lab.files() == resumed


def test_a_step_that_starts_as_the_run_is_stopped_is_stopped_too(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    launcher = type(lab.launcher)
    start = launcher.start

    def interrupted(self: object, *given: object) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return start(self, *given)

    monkeypatch.setattr(launcher, "start", interrupted)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            lab.run(CHAIN.replace('task = "{task}" }', 'task = "{task}", wait = "../go" }'))
    finally:
        signal.signal(signal.SIGTERM, before)
    (process,) = lab.launcher.processes
    assert process.exit_code() == -signal.SIGTERM


MEASURED = """
name = "{name}"
title = "the recipe {name}"
[settings]
model = "tiny-clip"
steps = 3
[steps.train]
command = "finetune"
options = {{ steps = "{{steps}}" }}
[steps.{step}]
command = "evaluate"
arguments = [{{ step = "train" }}]
[results.{step}]
kind = "drift"
title = "Drift"
sources = {{ logs = {{ step = "{step}" }} }}
"""


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of scratch recipes, whose files hold no metrics."""
    monkeypatch.setattr("talos_engine.experiments.summing._content", lambda path: [])


@pytest.mark.usefixtures("results")
def test_results_of_several_recipes_keep_what_made_them(lab: Any) -> None:
    lab.run(MEASURED.format(name="first", step="one"))
    lab.run(MEASURED.format(name="second", step="two"), settings={"steps": 5})
    folder = lab.folder / "run"
    assert run_json(lab)["name"] == "second"
    for name, step, steps in (("first", "one", 3), ("second", "two", 5)):
        made = json.loads((folder / "results" / f"{step}.json").read_text())["made"]
        assert (made["recipe"], made["title"]) == (name, f"the recipe {name}")
        assert made["settings"] == {"model": "tiny-clip", "steps": steps}
        assert made["steps"] == ["train", step]
        record = json.loads((folder / made["record"]).read_text())
        assert record["recipe_hash"] == made["recipe_hash"]
        assert record["results"] == [step], "in the recipe's order, for pages about it"
        commands = {it["id"]: it["command"] for it in record["steps"]}
        train = commands["train"]
        assert train[train.index("--steps") + 1] == str(steps)
        assert [it["state"] for it in record["steps"]] == ["done", "done"]


def test_steps_of_other_settings_do_not_count_as_done(lab: Any) -> None:
    lab.run(CHAIN)
    lab.run(CHAIN, settings={"steps": 5}, only=("mask.a",))
    assert states(lab) == {"mask.a": "done", "mask.b": "done", "train.a": "pending",
                           "train.b": "pending", "merge": "pending"}  # fmt: skip
    pending = next(it for it in run_json(lab)["steps"] if it["id"] == "train.a")
    assert (pending["key"], pending["seconds"], pending["log"]) == (None, None, None)


@pytest.mark.usefixtures("results")
def test_a_result_does_not_rest_on_steps_of_other_settings(lab: Any) -> None:
    text = MEASURED.format(name="first", step="one")
    lab.run(text)
    before = (lab.folder / "run" / "results" / "one.json").read_text()
    assert json.loads(before)["made"]["settings"]["steps"] == 3
    text += """[steps.apart]
command = "calibrate"
"""
    lab.run(text, settings={"steps": 5}, only=("apart",))
    assert not (lab.folder / "run" / "results" / "one.json").exists()
