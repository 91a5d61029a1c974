"""``talos mask``: three subcommands, one result each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_mask

Talos = Callable[..., Any]
OPERATIONS = ("union", "intersect", "subtract")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_result_is_the_path(
    talos: Talos, toy_files: Any, tmp_path: Path, operation: str
) -> None:
    a, b = toy_files.mask("a"), toy_files.mask("b")
    done = talos("mask", operation, a, b)
    name = f"{operation}.mask.safetensors"
    assert (done.code, done.out) == (0, f"{name}\n")
    assert operation in done.err
    mask = read_mask(tmp_path / name)
    assert mask.header.method == operation
    assert f"{mask.live_count:,}" in done.plain_err
    quiet = talos("mask", operation, b, a, "-o", "again", "--quiet")
    assert (quiet.out, quiet.err) == ("again\n", "")
    same = (tmp_path / name).read_bytes() == (tmp_path / "again").read_bytes()
    assert same == (operation != "subtract"), "order matters to subtract alone"


def test_json_values(talos: Talos, toy_files: Any) -> None:
    paths = [toy_files.mask(task) for task in "abc"]
    values = json.loads(talos("mask", "union", *paths, "-o", "m", "--json").out)
    masks = [read_mask(path) for path in paths]
    assert values["path"] == "m"
    assert values["total"] == masks[0].total
    assert [each["live"] for each in values["inputs"]] == [mask.live_count for mask in masks]
    assert max(mask.live_count for mask in masks) < values["live"] < values["total"]


def test_a_combined_mask_is_inspected_and_trains(
    talos: Talos, toy_files: Any, tmp_path: Path
) -> None:
    out = talos("mask", "union", toy_files.mask("a"), toy_files.mask("b"), "-q").out.strip()
    assert talos("inspect", out).out == "mask\n"
    done = talos(
        "finetune", "--model", "toy-clip", "--task", "toy-c", "--method", "talos",
        "--mask", out, "--steps", 1, "-o", "c", "--quiet",
    )  # fmt: skip
    assert (done.code, done.out) == (0, "c\n")


CASES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "no operation": (2, "Usage", ()),
    "unknown operation": (2, "xor", ("xor", "{mask}", "{mask}")),
    "no mask": (2, "MASK", ("union",)),
    "one mask": (2, "at least two", ("union", "{mask}")),
    "a vector": (1, "a mask was expected", ("union", "{mask}", "{vector}")),
    "truncated": (1, "cut", ("intersect", "{mask}", "{cut}")),
    "missing": (1, "no file", ("union", "nowhere", "{mask}")),
    "empty": (1, "no live entry", ("subtract", "{mask}", "{mask}")),
    "no folder": (1, "no folder", ("union", "{mask}", "{mask}", "-o", "nowhere/m")),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_message_and_leaves_nothing(
    talos: Talos, toy_files: Any, tmp_path: Path, case: str
) -> None:
    code, words, command = CASES[case]
    cut = tmp_path.parent / f"{tmp_path.name}-cut"
    cut.write_bytes(toy_files.mask().read_bytes()[:-3])
    files = {"mask": toy_files.mask(), "vector": toy_files.vector(), "cut": cut}
    done = talos("mask", *(word.format_map(files) for word in command))
    assert done.code == code, done.err
    assert words in " ".join((done.out + done.err).split())
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_kept_unless_forced(
    talos: Talos, toy_files: Any, tmp_path: Path
) -> None:
    (tmp_path / "m").write_text("precious")
    words = ("mask", "union", toy_files.mask("a"), toy_files.mask("b"), "-o", "m")
    done = talos(*words)
    assert (done.code, done.out) == (1, "")
    assert "--force" in done.err
    assert (tmp_path / "m").read_text() == "precious"
    assert talos(*words, "--force").code == 0
    assert read_mask(tmp_path / "m").live_count


@pytest.mark.parametrize(
    ("text", "quiet"),
    [
        ("quiet = true\n", True),
        ("[mask]\nquiet = true\n", True),
        ("[mask.union]\nquiet = true\n", True),
        ("[mask]\nquiet = true\n[mask.union]\nquiet = false\n", False),
        ("[mask.subtract]\nquiet = true\n[calibrate]\nsparsity = 0.5\n", False),
    ],
)
def test_settings_of_a_group(
    talos: Talos, toy_files: Any, tmp_path: Path, text: str, quiet: bool
) -> None:
    config = tmp_path / "talos.toml"
    config.write_text(f"{text}")
    done = talos("mask", "union", toy_files.mask("a"), toy_files.mask("b"), "--config", config)
    assert done.code == 0, done.err
    assert (done.err == "") == quiet


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask = 3\n", "[mask] must be a table"),
        ("[mask]\nunion = 3\n", "[union] must be a table"),
        ("[mask.union]\nsparsity = 0.5\n", "unknown key sparsity"),
        ("[mask.xor]\nquiet = true\n", "unknown key xor"),
    ],
)
def test_wrong_settings_of_a_group(
    talos: Talos, toy_files: Any, tmp_path: Path, text: str, words: str
) -> None:
    config = tmp_path / "talos.toml"
    config.write_text(text)
    done = talos("mask", "union", toy_files.mask("a"), toy_files.mask("b"), "--config", config)
    assert done.code == 2
    assert words in done.plain_err


def test_the_option_mask_is_no_table_of_the_group(
    talos: Talos, toy_files: Any, tmp_path: Path
) -> None:
    config = tmp_path / "talos.toml"
    config.write_text(f'mask = "{toy_files.mask()}"\n[mask.union]\nquiet = true\n')
    finetune = (
        "finetune", "--model", "toy-clip", "--task", "toy-a", "--method", "talos", "--steps", 1,
        "-o", "c", "--config", config,
    )  # fmt: skip
    assert talos(*finetune).code == 2, "TOML knows one mask only"
    config.write_text(f'mask = "{toy_files.mask()}"\n')
    done = talos(*finetune)
    assert done.code == 0, done.err
