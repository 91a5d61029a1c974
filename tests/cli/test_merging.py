"""Merging methods on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_checkpoint


def test_one_model_per_task(talos: Callable[..., Any], toy_files: Any, tmp_path: Path) -> None:
    a, b = toy_files.vector("a"), toy_files.vector("b")
    done = talos("add", a, b, "--method", "tall", "--coef", 1)
    assert (done.code, done.out) == (0, "merged\n")
    names = ["toy-a.md", "toy-a.safetensors", "toy-b.md", "toy-b.safetensors"]
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == names
    again = talos("add", a, b, "--method", "tall", "--coef", 1, "-o", "merged/")
    assert again.code == 1
    assert "exists already" in again.plain_err
    done = talos(
        "add", a, b, "--method", "tall", "--search", "--grid", "plain", "-o", "x/", "--json"
    )
    told = json.loads(done.out)
    assert told["path"] == "x"
    assert set(told["models"]) == {"toy-a", "toy-b"}
    for task, each in told["models"].items():
        assert Path(each["path"]) == Path("x") / f"{task}.safetensors"
        assert Path(each["search"]).is_file()
        assert Path(each["card"]).is_file()
    assert done.err.count("chosen on validation data") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "ties", "--ties-density", 0.3, "--ties-merge", "sum", "--scope", "row"),
        ("--method", "ties", "--dialect", "mergekit", "--ties-density", 0.3),
        ("--method", "dare", "--dare-drop", 0.5, "--seed", 3),
        ("--method", "breadcrumbs", "--breadcrumbs-outliers", 0.1, "--breadcrumbs-density", 0.5),
        ("--method", "consensus", "--consensus-threshold", 1, "--tall-lambda", 0.6),
        (
            "--method",
            "mean",
        ),
    ],
    ids=str,
)
def test_options_reach_the_method(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    a, b = toy_files.vector("a"), toy_files.vector("b")
    done = talos("add", a, b, *words, "--coef", 0.5)
    assert (done.code, done.out) == (0, "merged.safetensors\n"), done.err
    header = read_checkpoint(tmp_path / "merged.safetensors").header
    options = header.config["options"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert header.method == f"add:{given.pop('--method')}"
    assert header.seed == given.pop("--seed", 0)
    for flag, value in given.items():
        assert options[flag[2:].replace("-", "_")] == value


def test_learning_needs_no_coefficient(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    a, b = toy_files.vector("a"), toy_files.vector("b")
    words = ("--adamerging-steps", 2, "--adamerging-max", 0.9, "--adamerging-lr", 0.01)
    done = talos("add", a, b, "--method", "adamerging-layer", *words, "--transductive")
    assert done.code == 0, done.err
    config = read_checkpoint(tmp_path / "merged.safetensors").header.config
    assert config["options"] == {
        "adamerging_steps": 2, "adamerging_max": 0.9, "adamerging_lr": 0.01, "transductive": True,
    }  # fmt: skip
    assert "learning coefficients" in done.err


def test_the_other_tasks_vectors_may_come_from_a_file(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    a, b = toy_files.vector("a"), toy_files.vector("b")
    done = talos("negate", a, "--with", b, "--method", "consensus", "--coef", 1, "-o", "one")
    assert done.code == 0, done.err
    settings = f'[negate]\nwith = ["{b}"]\nmethod = "consensus"\ncoef = 1.0\n'
    (tmp_path / "settings.toml").write_text(settings)
    done = talos("negate", a, "--config", "settings.toml", "-o", "two")
    assert done.code == 0, done.err
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_negative_coefficients_one_per_vector(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    """C + B − A."""
    a, b, c = (toy_files.vector(task) for task in "abc")
    done = talos("add", c, b, a, "--coef", 1, "--coef", 1, "--coef", -1, "--json")
    assert json.loads(done.out)["coefs"] == [1.0, 1.0, -1.0]
    inputs = read_checkpoint(tmp_path / "merged.safetensors").header.config["inputs"]
    assert {item["task"]: item["coef"] for item in inputs} == {"toy-a": -1, "toy-b": 1, "toy-c": 1}


def test_method_options_once_or_once_per_vector(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    a, b = toy_files.vector("a"), toy_files.vector("b")
    words = ("--method", "ties", "--coef", 1)
    done = talos("add", b, a, *words, "--ties-density", 0.3, "--ties-density", 0.8)
    assert done.code == 0, done.err
    inputs = read_checkpoint(tmp_path / "merged.safetensors").header.config["inputs"]
    assert {item["task"]: item["options"] for item in inputs} == {
        "toy-a": {"ties_density": 0.8},
        "toy-b": {"ties_density": 0.3},
    }
    (tmp_path / "settings.toml").write_text("ties-density = [0.3, 0.8]\n")
    done = talos("add", b, a, *words, "--config", "settings.toml", "-o", "same.safetensors")
    assert done.code == 0, done.err
    merged, same = (tmp_path / f"{name}.safetensors" for name in ("merged", "same"))
    assert merged.read_bytes() == same.read_bytes()
    done = talos("negate", b, *words, "--ties-density", 0.3, "--ties-density", 0.8, "--dry-run")
    assert done.code == 2
    assert "--ties-density must be given once, or once per vector (1); got 2" in done.plain_err


def test_shards_and_sizes(talos: Callable[..., Any], toy_files: Any, tmp_path: Path) -> None:
    a = toy_files.vector("a")
    done = talos("add", a, "--coef", 1, "--max-shard-size", "20KB")
    assert (done.code, done.out) == (0, "merged.ckpt\n"), done.err
    assert len(list((tmp_path / "merged.ckpt").glob("model-*-of-*.safetensors"))) > 1
    done = talos("negate", a, "--coef", 1, "--max-shard-size", "1GB")
    assert (done.code, done.out) == (0, "edited.ckpt\n"), done.err
    assert [path.name for path in (tmp_path / "edited.ckpt").iterdir()] == ["model.safetensors"]
    done = talos("add", a, "--coef", 1, "--max-shard-size", "large", "-o", "x")
    assert done.code == 2
    assert "--max-shard-size must be a size above 0, not 'large'" in done.plain_err
    assert "500MB" in done.plain_err


def test_a_plan_guesses_the_time_and_says_how(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    words = (
        "add",
        toy_files.vector("a"),
        toy_files.vector("b"),
        "--coef",
        1,
        "--dry-run",
        "--json",
    )
    plan = json.loads(talos(*words).out)
    files = sum(toy_files.vector(task).stat().st_size for task in "ab")
    assert plan["read_bytes"] == plan["disk_bytes"] + 2 * files
    assert "read or written a second" in plan["time_guess"]
    assert json.loads(talos(*words, "--method", "ties").out)["read_bytes"] > plan["read_bytes"]
