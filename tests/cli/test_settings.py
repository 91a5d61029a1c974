"""``--config``: a flag beats the file, the file beats the default, unknown keys are errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_checkpoint, read_mask

MODEL = ("--model", "toy-clip", "--task", "toy-a")
FINETUNE = ("finetune", *MODEL, "--method", "nonlinear", "-o", "c")


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Path]:
    """``settings(text)`` writes a TOML file outside of the working folder."""
    folder = tmp_path.parent / f"{tmp_path.name}-settings"
    folder.mkdir()

    def write(text: str) -> Path:
        path = folder / "talos.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def config_of(path: Path) -> dict[str, Any]:
    return read_checkpoint(path).header.config


def test_precedence(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path
) -> None:
    path = settings("steps = 3\nlr = 0.5\nclip = 0.25\n")
    assert talos(*FINETUNE, "--config", path, "--lr", "0.001").code == 0
    config = config_of(tmp_path / "c")
    assert config["steps"] == 3, "the file beats the default"
    assert config["lr"] == 0.001, "the flag beats the file"
    assert config["clip"] == 0.25
    assert config["batch_size"] == 16, "the rest is the model's default"
    assert config["warmup"] == 0, "a short run must reach its learning rate"


@pytest.mark.parametrize("first", [True, False])
def test_the_place_of_the_flag_does_not_matter(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path, first: bool
) -> None:
    flag = ("--config", settings("steps = 3\n"))
    words = ["--steps", "2"]
    words = [*flag, *words] if first else [*words, *flag]
    assert talos(*FINETUNE, *words).code == 0
    assert config_of(tmp_path / "c")["steps"] == 2


def test_tables_belong_to_commands(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path
) -> None:
    path = settings(
        'seed = 5\n[finetune]\nsteps = 1\nseed = 6\n[calibrate]\nsparsity = 0.5\nmethod = "random"\n'
    )
    assert talos(*FINETUNE, "--config", path).code == 0
    assert config_of(tmp_path / "c")["steps"] == 1
    assert read_checkpoint(tmp_path / "c").header.seed == 6, "the command's table beats the top"
    assert talos("calibrate", *MODEL, "--config", path, "-o", "m").code == 0
    mask = read_mask(tmp_path / "m")
    assert (mask.header.seed, mask.sparsity, mask.header.method) == (5, 0.5, "random")


def test_required_options_repeated_ones_and_switches_may_come_from_the_file(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path
) -> None:
    path = settings(
        '[evaluate]\nmodel = "toy-clip"\ntask = ["toy-a", "toy-b"]\njson = true\nquiet = true\n'
        '[calibrate]\nmodel = "toy-clip"\ntask = "toy-a"\nsparsity = 0.5\n'
        'batch-size = 4\nmc_samples = 2\nexclude = ["*#k", "*#q"]\nout = "m"\n'
    )
    done = talos("evaluate", "--config", path)
    assert (done.code, done.err) == (0, "")
    assert set(json.loads(done.out)["tasks"]) == {"toy-a", "toy-b"}
    assert talos("calibrate", "--config", path).code == 0
    config = read_mask(tmp_path / "m").header.config
    assert (config["batch_size"], config["mc_samples"]) == (4, 2), "- and _ mean the same"
    assert config["exclude"] == ["*#k", "*#q"]


def test_vectors_and_coefficients_from_the_file(
    talos: Callable[..., Any], settings: Callable[[str], Path], toy_files: Any, tmp_path: Path
) -> None:
    paths = [str(toy_files.vector(task)) for task in "ab"]
    assert talos("add", *paths, "--coef", "0.5", "--coef", "-1", "-o", "flags").code == 0
    path = settings(f"vectors = {json.dumps(paths)}\ncoef = [0.5, -1]\nout = 'file'\n")
    done = talos("add", "--config", path)
    assert done.code == 0, done.err
    assert (tmp_path / "file").read_bytes() == (tmp_path / "flags").read_bytes()


def test_one_value_for_a_repeatable_option(
    talos: Callable[..., Any], settings: Callable[[str], Path], toy_files: Any, tmp_path: Path
) -> None:
    """``coef = 0.5`` and ``task = "toy-a"``: taken, or refused in one message."""
    path = settings("coef = 0.5\n")
    done = talos("add", toy_files.vector("a"), "--config", path, "-o", "c")
    if done.code == 0:
        assert read_checkpoint(tmp_path / "c").header.config["inputs"][0]["coef"] == 0.5
    else:
        assert done.code == 2
        assert "coef" in done.err
        assert "Traceback" not in done.err
    done = talos(
        "evaluate", "--model", "toy-clip", "--json", "--config", settings('task = "toy-a"\n')
    )
    if done.code == 0:
        assert set(json.loads(done.out)["tasks"]) == {"toy-a"}
    else:
        assert done.code == 2
        assert "task" in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz = 3\n", "unknown key stepz"),
        ("stepz = 3\nlrr = 1\n", "unknown keys lrr, stepz"),
        ("[finetune]\nstepz = 3\n", "unknown key stepz"),
        ("[finetuning]\nsteps = 3\n", "unknown key finetuning"),
        ("sparsity = 0.5\n", "unknown key sparsity"),
        ("config = 'x'\n", "unknown key config"),
        ("help = true\n", "unknown key help"),
        ("finetune = 3\n", "[finetune] must be a table"),
        ("steps = \n", "talos.toml"),
        ("steps = 3\nsteps = 4\n", "talos.toml"),
        ("steps = 'many'\n", "--steps"),
        ("steps = [1, 2]\n", "--steps"),
        ("steps = 2.5\n", "--steps"),
        ("schedule = 'linear'\n", "schedule"),
        ("lr = -1\n", "--lr"),
        ("method = 'magic'\n", "magic"),
    ],
)
def test_wrong_files_are_refused_in_one_message(
    talos: Callable[..., Any],
    settings: Callable[[str], Path],
    tmp_path: Path,
    text: str,
    words: str,
) -> None:
    given = ("finetune", *MODEL, "-o", "c", "--config", settings(text))
    if "method" not in text:
        given = (*given, "--method", "nonlinear")
    done = talos(*given)
    assert done.code == 2, done.err
    assert words in done.plain_err
    assert "Traceback" not in done.err
    assert "a bug" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_text_are_refused(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path
) -> None:
    path = settings("")
    for content in (b"\xff\xfe\x00", b"x = 1\n" * 400_000):
        path.write_bytes(content)
        done = talos(*FINETUNE, "--config", path)
        assert done.code == 2
        assert "talos.toml" in done.err
    done = talos(*FINETUNE, "--config", tmp_path)
    assert done.code == 2


def test_an_empty_file_changes_nothing(
    talos: Callable[..., Any], settings: Callable[[str], Path], tmp_path: Path
) -> None:
    assert talos(*FINETUNE, "--config", settings("# nothing\n")).code == 0
    assert config_of(tmp_path / "c")["steps"] == 6


@pytest.mark.parametrize(
    ("text", "said"), [("steps = true", "no truth value"), ('force = "no"', "true or false")]
)
def test_truth_values_are_not_numbers_or_words(
    talos: Callable[..., Any], settings: Callable[[str], Path], text: str, said: str
) -> None:
    done = talos(*FINETUNE, "--config", settings(text))
    assert done.code == 2
    assert said in done.plain_err


def test_pairs_may_come_from_the_file(
    talos: Callable[..., Any], settings: Callable[[str], Path], toy_scores: Path
) -> None:
    path = settings(
        'task = ["toy-a"]\njson = true\nquiet = true\n'
        f'prune-lowest = [["{toy_scores}", 0.1], ["{toy_scores}", 1]]\n'
    )
    done = talos("evaluate", "--config", path)
    assert done.code == 0, done.err
    assert [edit["fraction"] for edit in json.loads(done.out)["edits"]] == [0.1, 1.0]


@pytest.mark.parametrize("value", ['["scores", 0.1]', '[["scores"]]', '[["a", "b", "c"]]', "[0.1]"])
def test_what_is_no_pair_is_refused(
    talos: Callable[..., Any], settings: Callable[[str], Path], value: str
) -> None:
    done = talos("evaluate", "--task", "toy-a", "--config", settings(f"prune-lowest = {value}\n"))
    assert (done.code, done.out) == (2, "")
    assert "no pair of a scores file and a fraction" in done.plain_err
