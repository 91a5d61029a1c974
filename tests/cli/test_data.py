"""One's own data on the command line: right ones through the pipeline, wrong ones in one message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = ("red", "green", "blue")


@pytest.fixture
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three colours, 12 training and 4 test images each, and a task file."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label, name in enumerate(COLOURS):
            place = folder / "colours" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 90, (32, 32 + number, 3))
                pixels[..., label] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    (folder / "colours.toml").write_text(
        'name = "colours"\ntemplates = ["a {}"]\nclass_names = ["red", "green", "blue"]\n'
        '[source]\nkind = "folder"\npath = "colours"\n'
    )
    return folder


def test_the_whole_pipeline_on_an_image_folder(
    talos: Callable[..., Any], tmp_path: Path, colours: Path
) -> None:
    data = ("--data", colours / "colours", "--model", "toy-clip", "--task", "colours")
    made = talos("calibrate", *data, "--sparsity", "0.75", "--rounds", "1", "-o", "m.safetensors")
    assert (made.code, made.out) == (0, "m.safetensors\n"), made.err
    assert "'a photo of a {}.'" in made.plain_err
    for name in ("one", "two"):
        done = talos("finetune", *data, "--method", "talos", "--mask", "m.safetensors", "-o", name)
        assert done.code == 0, done.err
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes(), "same seed"
    done = talos("evaluate", "one", *data, "--json")
    result = json.loads(done.out)
    assert result["tasks"]["colours"]["n"] == 12
    assert "data" not in result
    done = talos("vector", "--finetuned", "one", "-o", "v.safetensors", "--model", "toy-clip")
    assert done.code == 0, done.err
    named = ("--data", f"colours={colours / 'colours'}")
    done = talos("negate", "v.safetensors", *named, "--search", "--control", "toy-b", "-o", "n")
    assert done.code == 0, done.err
    done = talos("add", "v.safetensors", *named, "--search", "-o", "a")
    assert done.code == 0, done.err


def test_a_task_file_declares_a_task(talos: Callable[..., Any], colours: Path) -> None:
    words = ("evaluate", "--model", "toy-clip", "--task", "colours", "--task", "toy-a", "--json")
    done = talos(*words, "--task-file", colours / "colours.toml", "--max-examples", "5")
    assert done.code == 0, done.err
    assert "photo" not in done.err, "it has templates of its own"
    tasks = json.loads(done.out)["tasks"]
    assert {name: task["n"] for name, task in tasks.items()} == {"colours": 5, "toy-a": 5}


def test_declared_and_given_tasks_are_listed(talos: Callable[..., Any], colours: Path) -> None:
    words = ("tasks", "--task-file", colours / "colours.toml")
    done = talos(*words, "--data", f"own={colours / 'colours'}", "--json")
    assert done.code == 0, done.err
    declared, own = json.loads(done.out)["tasks"][-2:]
    assert (declared["name"], declared["classes"], declared["available"]) == (
        "colours", list(COLOURS), True
    )  # fmt: skip
    assert (own["name"], own["classes"]) == ("own", sorted(COLOURS))
    assert "colours" in talos(*words).out.splitlines()[-1]
    (colours / "colours.toml").write_text('nmae = "colours"')
    done = talos(*words)
    assert (done.code, done.out) == (1, "")
    assert "unknown key 'nmae'" in done.plain_err
    done = talos("tasks", "--data", colours / "colours")
    assert done.code == 2
    assert "say --data TASK=" in done.plain_err


def test_options_may_stand_in_a_file(
    talos: Callable[..., Any], tmp_path: Path, colours: Path
) -> None:
    (tmp_path / "c.toml").write_text(
        f'[evaluate]\nmodel = "toy-clip"\ntask = ["colours"]\ndata = ["{colours / "colours"}"]\n'
        "skip-bad = true\nmax-examples = 3\n"
    )
    done = talos("evaluate", "--config", "c.toml", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tasks"]["colours"]["n"] == 3


def test_profile_measures_on_given_data(talos: Callable[..., Any], colours: Path) -> None:
    words = ("--model", "tiny-clip", "--task", "colours", "--methods", "nonlinear", "--iters", "1")
    done = talos("profile", *words, "--batch-size", "4", "--data", colours / "colours", "--json")
    assert done.code == 0, done.err
    peaks = json.loads(done.out)["allocator_peak_bytes"]["nonlinear"]
    assert set(peaks) == {"forward", "backward", "optimizer"}
    words = re.findall(r"[\w.–-]+", done.plain_err[done.plain_err.index("kept") :])
    head = ["kept", "forward", "backward", "optimizer", "calibration"]
    assert words[:6] == [*head, "nonlinear"]
    shown = [f"{peaks[name] / 2**20:.1f}" for name in ("forward", "backward", "optimizer")]
    assert words[8:12] == [*shown, "–"]


def test_a_broken_image_is_named_or_counted(talos: Callable[..., Any], colours: Path) -> None:
    broken = colours / "colours" / "test" / "green" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    words = ("evaluate", "--model", "toy-clip", "--task", "colours", "--data", colours / "colours")
    done = talos(*words)
    assert (done.code, done.out) == (1, "")
    assert f"{broken} (" in done.plain_err
    assert "row 6" in done.plain_err
    assert "--skip-bad" in done.plain_err
    done = talos(*words, "--skip-bad", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["data"] == {"skipped": {"colours": {"test_images": 1}}}
    assert result["tasks"]["colours"]["n"] == 11
    assert "left out of task colours: test images 1" in done.plain_err
    assert "left out" not in talos(*words, "--skip-bad", "--quiet").err


def test_a_broken_line_is_all_that_is_told(
    talos_process: Callable[..., Any], tmp_path: Path
) -> None:
    for split in ("train", "test"):
        row = json.dumps({"text": "t", "choices": ["a", "b"], "label": 1})
        (tmp_path / f"{split}.jsonl").write_text(f'{row}\n{row}\n{{"text": \n{row}\n')
    words = ("evaluate", "--model", "tiny-t5", "--task", "asked", "--data", ".", "--quiet")
    done = talos_process(*words)
    assert (done.code, done.out) == (1, "")
    told, hint = done.err.splitlines()
    assert (
        told == "talos: train.jsonl, row 2 (line 3): it is not JSON: Expecting value, at column 9"
    )
    assert hint == "       --skip-bad leaves such rows out"
    done = talos_process(*words, "--skip-bad", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["data"] == {"skipped": {"asked": {"test_lines": 1}}}


def test_data_that_nothing_looks_at_are_said_to_be_unused(
    talos: Callable[..., Any], toy_files: Any, colours: Path
) -> None:
    words = ("add", toy_files.vector(), "--coef", "1", "-o", "out")
    for given in (str(colours / "colours"), f"pets={colours / 'colours'}"):
        done = talos(*words, "--data", given, "--force")
        assert (done.code, done.out) == (0, "out\n")
        assert f"--data {given} was not used" in done.plain_err


def test_a_dry_run_counts_given_examples(talos: Callable[..., Any], colours: Path) -> None:
    words = ("evaluate", "--model", "toy-clip", "--task", "colours", "--dry-run", "--json")
    done = talos(*words, "--data", colours / "colours")
    assert json.loads(done.out)["examples"] == 12


EVALUATE = ("evaluate", "--model", "toy-clip")
PETS = (*EVALUATE, "--task", "pets")
WRONG: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "no such path": (1, "no file or folder nowhere", (*PETS, "--data", "nowhere")),
    "no data there": (1, "no data that can be read", (*PETS, "--data", "{empty}")),
    "no such task": (1, "no task named 'pets'", (*PETS,)),
    "task of the hub": (1, "HF_HUB_OFFLINE is set", (*EVALUATE, "--task", "dtd")),
    "three ways on": (1, "--data PATH; a copy in the cache", (*EVALUATE, "--task", "svhn")),
    "unknown class": (1, "no class 'blue'", (*EVALUATE, "--task", "dtd", "--data", "{folder}")),
    "two tasks, one path": (2, "--data pets=", (*PETS, "--task", "toy-a", "--data", "{folder}")),
    "two paths": (2, "name no task", (*PETS, "--data", "{folder}", "--data", "{empty}")),
    "a path twice": (2, "two paths", (*PETS, "--data", "pets=a", "--data", "pets=b")),
    "path and named path": (2, "names no task", (*PETS, "--data", "{folder}", "--data", "a={empty}")),
    "data of another task": (2, "'b', which the command does not use", (*PETS, "--data", "pets={folder}", "--data", "b={folder}")),
    "no such task file": (1, "gone.toml cannot be read", (*PETS, "--task-file", "gone.toml")),
    "unknown key": (1, "unknown key 'nmae'", (*PETS, "--task-file", "{typo}")),
    "negative limit": (2, "--max-examples", (*PETS, "--data", "{folder}", "--max-examples", "-1")),
    "escaping path": (1, "leaves the folder", (*PETS, "--data", "{escaping}")),
    "missing column": (1, "no column 'label'", (*PETS, "--data", "{columns}")),
    "missing images": (1, "no column 'image': it has picture, label", (*PETS, "--data", "{pictures}")),
    "empty class": (1, "dog has no image", (*PETS, "--data", "{hollow}")),
    "label out of range": (1, "test.csv, row 1 has label 7, outside the 2 classes", (*PETS, "--task-file", "{range}")),
    "unknown answer": (1, "test.jsonl, row 1 has label 'green', which is none of its answers", ("evaluate", "--model", "{t5}", "--task", "pets", "--data", "{answers}")),
    "answer out of range": (1, "test.jsonl, row 0 has label 2, outside its 2 answers", ("evaluate", "--model", "{t5}", "--task", "pets", "--data", "{answers2}")),
    "no test split": (1, "no folder 'test'", (*PETS, "--data", "{half}")),
    "too few": (1, "too few to split", (*PETS, "--split", "val", "--data", "{single}")),
}  # fmt: skip


def _more_wrong_data(place: Path) -> dict[str, Path]:
    (place / "pictures.csv").write_text("picture,label\na.png,0\nb.png,1\n")
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (place / "hollow" / split / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / "hollow" / split / "cat" / "0.png")
        for folder in ("range", "answers", "answers2"):
            (place / folder).mkdir(exist_ok=True)
        (place / "range" / f"{split}.csv").write_text("image,label\na.png,0\na.png,7\n")
        row = {"text": "a", "choices": ["red", "blue"]}
        for folder, labels in (("answers", ("red", "green")), ("answers2", (2, 0))):
            lines = [json.dumps({**row, "label": label}) for label in labels]
            (place / folder / f"{split}.jsonl").write_text("\n".join(lines))
    (place / "range.toml").write_text(
        'name = "pets"\nclass_names = ["a", "b"]\n[source]\nkind = "table"\npath = "range"\n'
    )
    files = {"pictures": "pictures.csv", "range": "range.toml"}
    return {
        name: place / files.get(name, name) for name in (*files, "hollow", "answers", "answers2")
    }


def test_a_class_without_a_test_image_is_told(talos: Callable[..., Any], colours: Path) -> None:
    for path in (colours / "colours" / "test" / "blue").iterdir():
        path.unlink()
    (colours / "colours" / "test" / "blue").rmdir()
    words = ("evaluate", "--model", "toy-clip", "--task", "colours", "--data", colours / "colours")
    done = talos(*words)
    assert done.code == 0, done.err
    assert "test has no example of 1 of the 3 classes: blue" in done.plain_err
    done = talos(*words, "--json", "--quiet")
    assert json.loads(done.out)["data"] == {"empty_classes": {"colours": {"test": ["blue"]}}}


def test_texts_that_a_model_cannot_take_whole_are_told(
    talos: Callable[..., Any], t5_toys: Any, tmp_path: Path
) -> None:
    rows = [{"text": "t" * 100 * (number + 1), "label": "ab"[number % 2]} for number in range(4)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("evaluate", "--model", t5_toys.model(), "--task", "long", "--data", ".")
    done = talos(*words)
    assert done.code == 0, done.err
    assert "3 of 4 test examples of task long have a text or an answer that is" in done.plain_err
    done = talos(*words, "--json", "--quiet")
    assert (json.loads(done.out)["data"], done.err) == ({"cut": {"long": {"test": 3}}}, "")


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_is_one_message(
    talos: Callable[..., Any],
    tmp_path: Path,
    tmp_path_factory: Any,
    colours: Path,
    t5_toys: Any,
    case: str,
) -> None:
    place = tmp_path_factory.mktemp("wrong")
    (place / "empty").mkdir()
    (place / "typo.toml").write_text('nmae = "pets"')
    (place / "escaping").mkdir()
    rows = "image,label\n" + "".join(f"../{number}.png,{number % 2}\n" for number in range(4))
    (place / "escaping" / "test.csv").write_text(rows)
    (place / "escaping" / "train.csv").write_text(
        rows.replace(",0\n", ",a\n").replace(",1\n", ",b\n")
    )
    (place / "columns.csv").write_text("image,kind\na.png,cat\n")
    for name in COLOURS:
        (place / "half" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / "half" / "train" / name / "0.png")
    (place / "single.csv").write_text("image,label,split\na.png,cat,train\na.png,dog,test\n")
    (place / "single.toml").write_text("")
    known = {name: place / name for name in ("empty", "escaping", "half")}
    known |= {"typo": place / "typo.toml", "folder": colours / "colours"}
    known |= _more_wrong_data(place) | {"t5": t5_toys.model()}
    known |= {"columns": place / "columns.csv", "single": place / "single.csv"}
    code, words, command = WRONG[case]
    if case == "too few":
        rows = 'name = "pets"\nclass_names = ["cat", "dog"]\n[source]\nkind = "table"\n'
        (place / "pets.toml").write_text(rows + 'path = "single.csv"\n')
        command = (*PETS, "--split", "val", "--task-file", str(place / "pets.toml"))
    done = talos(*(word.format_map(known) for word in command))
    assert done.code == code, done.err
    assert words in done.plain_err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "a bug" not in done.err
    assert len(done.err.splitlines()) <= 8, "one short block"
    assert list(tmp_path.iterdir()) == []
