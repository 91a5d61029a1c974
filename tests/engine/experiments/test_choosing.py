from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.choosing import choose, read_choice
from talos_engine.experiments.steps import Choice, Take


def report(folder: Path, name: str, coef: float, target: float, **more: Any) -> str:
    content = {
        "schema": 1, "command": "negate", "split": "val", "task": "t", "coef": coef,
        "curve": [
            {"coef": 0.0, "accuracy": {"t": 0.9, "c": 0.8}},
            {"coef": coef, "accuracy": {"t": target, "c": 0.7}},
        ],
        **more,
    }  # fmt: skip
    (folder / name).write_text(json.dumps(content))
    return name


def test_the_lowest_mean_target_accuracy_wins_and_the_first_of_equals(tmp_path: Path) -> None:
    accuracies = {0.1: (0.5, 0.3), 0.2: (0.2, 0.4), 0.5: (0.1, 0.5)}
    reports = tuple(
        (report(tmp_path, f"{value}.{task}.json", 1.0, target), {"density": value, "task": task})
        for value, targets in accuracies.items()
        for task, target in enumerate(targets)
    )
    choose(Choice("density", reports), tmp_path, "choice.json")
    found = json.loads((tmp_path / "choice.json").read_text())
    assert found["chosen"] == 0.2
    assert [it["mean"] for it in found["candidates"]] == pytest.approx([0.4, 0.3, 0.3])
    assert read_choice(tmp_path / "choice.json") == "0.2"


def test_what_the_winner_made_is_copied(tmp_path: Path) -> None:
    reports, files, folders = [], [], []
    for value, target in ((4, 0.5), (8, 0.2), (16, 0.3)):
        reports.append((report(tmp_path, f"{value}.json", 1.0, target), {"rank": value}))
        (tmp_path / f"{value}.bin").write_bytes(b"%d" % value)
        files.append((f"{value}.bin", {"rank": value}))
        (tmp_path / f"{value}.ckpt").mkdir()
        (tmp_path / f"{value}.ckpt" / "config.json").write_bytes(b"{%d}" % value)
        folders.append((f"{value}.ckpt", {"rank": value}))
    takes = (Take("best.bin", tuple(files)), Take("best.ckpt", tuple(folders)))
    for _ in range(2):  # again, over what is there
        choose(Choice("rank", tuple(reports), takes), tmp_path, "choice.json")
        assert read_choice(tmp_path / "choice.json") == "8"
        assert (tmp_path / "best.bin").read_bytes() == b"8"
        assert (tmp_path / "best.ckpt" / "config.json").read_bytes() == b"{8}"


@pytest.mark.parametrize(
    "wrong", [{"split": "test"}, {"command": "add"}, {"curve": []}, {"task": "x"}, {"curve": 3}]
)
def test_only_searches_of_negations_on_validation_data_count(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    path = report(tmp_path, "r.json", 1.0, 0.5, **wrong)
    with pytest.raises(CorruptFileError, match=r"r\.json"):
        choose(Choice("v", ((path, {"v": 1}),)), tmp_path, "choice.json")
    assert not (tmp_path / "choice.json").exists()


def test_a_file_that_holds_no_choice(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"schema": 1, "command": "evaluate"}')
    with pytest.raises(CorruptFileError, match="holds no choice"):
        read_choice(tmp_path / "x.json")
