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


def test_several_sparsities_are_a_path_per_line_and_a_list(
    talos: Callable[..., Any], tmp_path: Path
) -> None:
    words = (*CALIBRATE[:-1], "0.5,0.9,0", "--rounds", 1)
    names = [f"toy-a.{number}.mask.safetensors" for number in ("0.5", "0.9", "0")]
    done = talos(*words)
    assert (done.code, done.out.splitlines()) == (0, names), done.err
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert [read_mask(tmp_path / name).sparsity for name in names] == [0.5, 0.9, 0.0]
    done = talos(*words, "--json", "-q", "-o", "m.{sparsity}")
    assert done.err == ""
    values = json.loads(done.out)
    assert [mask["path"] for mask in values["masks"]] == ["m.0.5", "m.0.9", "m.0"]
    assert [mask["live"] for mask in values["masks"]] == [9456, 1892, 18_912]
    assert "path" not in values, "ambiguous for several"
    single = json.loads(talos(*CALIBRATE, "--rounds", 1, "--json", "-o", "one").out)
    assert single["masks"] == [{key: single[key] for key in single if key != "masks"}]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "m.0.9").read_bytes()


@pytest.mark.parametrize("rule", ["lota", "magnitude", "random"])
def test_every_rule_tells_what_it_did(talos: Callable[..., Any], tmp_path: Path, rule: str) -> None:
    more = ("--lota-steps", 3) if rule == "lota" else ()
    done = talos(*CALIBRATE, "--method", rule, *more, "--scope", "layer")
    assert (done.code, done.out) == (0, "toy-a.mask.safetensors\n"), done.err
    assert f"{rule} mask of toy-a" in done.plain_err
    assert ("3 steps of 16 training examples" in done.plain_err) == (rule == "lota")
    assert read_mask(tmp_path / "toy-a.mask.safetensors").header.config["scope"] == "layer"


EDITS = ("evaluate", "--task", "toy-a", "--task", "toy-b")


def test_pruning_and_perturbing(
    talos: Callable[..., Any], toy_scores: Path, tmp_path: Path
) -> None:
    from PIL import Image

    words = (*EDITS, "--prune-lowest", toy_scores, 0.1, "--perturb-lowest", toy_scores, 0.5,
             "--prune-lowest", toy_scores, 0.9)  # fmt: skip
    done = talos(*words)
    assert done.code == 0, done.err
    ratios = [float(line) for line in done.out.splitlines()]
    assert len(ratios) == 3
    assert list(tmp_path.iterdir()) == []
    assert "prune 10%, toy-a" in done.plain_err
    assert "perturb 50%, toy-a" in done.plain_err
    done = talos(*words, "--json", "-q", "--plot", "p.png")
    assert done.err == ""
    values = json.loads(done.out)
    assert [edit["edit"] for edit in values["edits"]] == ["prune", "prune", "perturb"]
    assert [edit["mean_ratio"] for edit in values["edits"]] == pytest.approx(ratios, abs=1e-6)
    assert values["plot"] == "p.png"
    done = talos(*words, "-o", "m.json", "--plot", "q.png")
    assert done.out == "m.json\n"
    assert read_metrics(tmp_path / "m.json")["edits"] == values["edits"]
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height, "three panels side by side"
    for name in ("m.json", "q.png"):
        again = talos(*words, "-o", "m.json" if name == "m.json" else "n.json", "--plot", "q.png")
        assert again.code == 1
        assert "exists already" in again.err
        (tmp_path / name).unlink()


def test_a_dry_run_of_pruning_writes_nothing(
    talos: Callable[..., Any], toy_scores: Path, tmp_path: Path
) -> None:
    words = (*EDITS, "--prune-lowest", toy_scores, 0.1, "--plot", "p.png", "-o", "m.json")
    done = talos(*words, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["models"] == 2
    assert list(tmp_path.iterdir()) == []


def test_the_seed_of_the_noise(talos: Callable[..., Any], toy_scores: Path) -> None:
    words = (*EDITS, "--perturb-lowest", toy_scores, 0.9, "--json", "-q")
    none, zero, one = (
        json.loads(talos(*words, *more).out) for more in ((), ("--seed", 0), ("--seed", 1))
    )
    assert none == zero
    assert (zero["seed"], one["seed"]) == (0, 1)
    assert none["edits"][0]["std"] == one["edits"][0]["std"]


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


def test_verbose_names_what_was_slow(talos: Callable[..., Any]) -> None:
    done = talos(*CALIBRATE, "--verbose", "--json")
    assert "scored one example at a time:\n  none" in done.err
    assert json.loads(done.out)["scored_one_by_one"] == []


def test_a_matrix_and_bounds_are_shown_and_drawn(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    paths = [toy_files.vector(name) for name in "ab"]
    tasks = ("--task", "toy-a", "--task", "toy-b")
    done = talos(
        "evaluate", *paths, *tasks, "--matrix", "--bound", 4, "--plot", "m.png", "-o", "m.json"
    )
    assert done.code == 0, done.err
    assert done.out == "m.json\n"
    assert "accuracy over the base's" in done.err
    assert "localization over 4 examples" in done.err
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert [set(result["ratios"]) for result in metrics["results"]] == [{"toy-a", "toy-b"}] * 2
    assert metrics["results"][0]["bounds"]["toy-b"]["n"] == 4
