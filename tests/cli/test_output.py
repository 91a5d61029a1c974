"""Standard output carries the result and nothing else; default names; quiet; JSON; dry runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import inspect_kind, read_mask, read_metrics

CALIBRATE = ("calibrate", "--model", "toy-clip", "--task", "toy-a", "--sparsity", "0.9")
FINETUNE = ("finetune", "--model", "toy-clip", "--task", "toy-a", "--method")


def commands(files: Any) -> dict[str, tuple[object, ...]]:
    """One call of each of the commands that read files, without -o."""
    a, b = files.vector("a"), files.vector("b")
    return {
        "calibrate": CALIBRATE,
        "finetune": (*FINETUNE, "nonlinear", "--steps", 2),
        "vector": ("vector", "--finetuned", files.checkpoint("a")),
        "add": ("add", a, b, "--coef", 0.5),
        "add --search": ("add", a, b, "--search", "--grid", "plain"),
        "negate": ("negate", a, "--coef", 1),
        "negate --search": ("negate", a, "--search", "--control", "toy-b"),
        "evaluate": ("evaluate", files.checkpoint("a"), "--task", "toy-a", "-o", "metrics.json"),
        "disentangle": ("disentangle", a, b, "--grid", 2, "--plot", "xi.png"),
    }


DEFAULTS = {
    "calibrate": ("toy-a.mask.safetensors", "mask"),
    "finetune": ("toy-a.nonlinear.safetensors", "checkpoint"),
    "vector": ("toy-a.vector.safetensors", "vector"),
    "add": ("merged.safetensors", "checkpoint"),
    "add --search": ("merged.safetensors", "checkpoint"),
    "negate": ("edited.safetensors", "checkpoint"),
    "negate --search": ("edited.safetensors", "checkpoint"),
    "evaluate": ("metrics.json", "metrics"),
    "disentangle": ("xi.json", "metrics"),
}
EXTRA = {
    "add": {"merged.md"},
    "add --search": {"merged.md", "merged.search.json"},
    "negate": {"edited.md"},
    "negate --search": {"edited.md", "edited.search.json"},
    "disentangle": {"xi.png"},
}


@pytest.mark.parametrize("which", DEFAULTS)
def test_the_result_is_the_path_written_and_all_else_goes_to_standard_error(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path, which: str
) -> None:
    done = talos(*commands(toy_files)[which])
    name, kind = DEFAULTS[which]
    assert done.code == 0, done.err
    assert done.out == f"{name}\n"
    assert inspect_kind(tmp_path / name) == kind
    assert {path.name for path in tmp_path.iterdir()} == {name} | EXTRA.get(which, set())
    if which not in ("add", "negate"):
        assert done.err, "people see what was done"


@pytest.mark.parametrize("which", DEFAULTS)
def test_quiet_is_silent(
    talos: Callable[..., Any], toy_files: Any, capfd: pytest.CaptureFixture[str], which: str
) -> None:
    done = talos(*commands(toy_files)[which], "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{DEFAULTS[which][0]}\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("which", DEFAULTS)
def test_json_is_one_object_with_the_path(
    talos: Callable[..., Any], toy_files: Any, which: str
) -> None:
    done = talos(*commands(toy_files)[which], "--json")
    assert done.code == 0
    values = json.loads(done.out)
    assert isinstance(values, dict)
    assert len(done.out.splitlines()) == 1
    if which != "evaluate":
        assert values["path"] == DEFAULTS[which][0]


def test_json_values(talos: Callable[..., Any], toy_files: Any, tmp_path: Path) -> None:
    mask = json.loads(talos(*CALIBRATE, "--json").out)
    assert mask["live"] == read_mask(tmp_path / "toy-a.mask.safetensors").live_count == 1892
    assert mask["total"] == 18_912
    assert sum(mask["live_by_kind"].values()) == 1892
    tuned = json.loads(talos(*FINETUNE, "nonlinear", "--steps", 2, "--json").out)
    assert (tuned["steps"], tuned["trained"], tuned["lr"]) == (2, 19_200, 0.003)
    checkpoint = toy_files.checkpoint("a")
    evaluated = json.loads(talos("evaluate", checkpoint, "--task", "toy-a", "--json").out)
    assert evaluated["mean"] == evaluated["tasks"]["toy-a"]["correct"] / 48
    searched = json.loads(talos(*commands(toy_files)["add --search"], "--json").out)
    report = read_metrics(tmp_path / "merged.search.json")
    assert searched["coef"] == report["coef"]
    assert searched["validation_normalized"] == report["objective"]
    negated = json.loads(talos(*commands(toy_files)["negate --search"], "--json").out)
    feasible = [
        point["coef"]
        for point in read_metrics(tmp_path / "edited.search.json")["curve"]
        if point["feasible"]
    ]
    assert negated["only_zero_feasible"] == (feasible == [0.0])


def test_evaluate_without_out_prints_a_mean_per_model_and_writes_nothing(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    paths = [toy_files.checkpoint("a"), toy_files.vector("b")]
    done = talos("evaluate", *paths, "--task", "toy-a", "--task", "toy-b")
    means = [float(line) for line in done.out.splitlines()]
    assert len(means) == 2
    assert all(0 <= mean <= 1 for mean in means)
    assert list(tmp_path.iterdir()) == []


def test_same_words_same_bytes(talos: Callable[..., Any], toy_files: Any, tmp_path: Path) -> None:
    for which in ("calibrate", "finetune", "vector", "add --search", "disentangle"):
        contents = []
        for name in ("one", "two"):
            words = [*commands(toy_files)[which], "-o", name]
            if which == "disentangle":
                words[words.index("xi.png")] = f"{name}.png"
            assert talos(*words, "--quiet").code == 0
            contents.append((tmp_path / name).read_bytes())
            (tmp_path / name).unlink()
        assert contents[0] == contents[1], which
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("which", [name for name in DEFAULTS if name != "vector"])
def test_dry_runs_write_nothing_and_count(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path, which: str
) -> None:
    done = talos(*commands(toy_files)[which], "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["memory_bytes"] > 0
    assert list(tmp_path.iterdir()) == []
    people = talos(*commands(toy_files)[which], "--dry-run")
    assert people.code == 0
    assert list(tmp_path.iterdir()) == []


def test_the_picture_is_a_png(talos: Callable[..., Any], toy_files: Any, tmp_path: Path) -> None:
    from PIL import Image

    talos(*commands(toy_files)["disentangle"])
    with Image.open(tmp_path / "xi.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 10


@pytest.mark.parametrize("which", DEFAULTS)
def test_an_existing_output_is_kept_unless_forced(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path, which: str
) -> None:
    target = tmp_path / DEFAULTS[which][0]
    target.write_text("precious")
    done = talos(*commands(toy_files)[which])
    assert (done.code, done.out) == (1, "")
    assert "exists already" in done.err
    assert "--force" in done.err
    assert target.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert talos(*commands(toy_files)[which], "--force").code == 0
    assert inspect_kind(target) == DEFAULTS[which][1]


def test_coefficients_go_with_vectors_in_order(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    a, b, c = (toy_files.vector(task) for task in "abc")
    talos("add", c, b, a, "--coef", "1", "--coef", "1", "--coef", "-1", "-o", "x")
    talos("add", a, c, b, "--coef=-1", "--coef=1", "--coef=1", "-o", "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
