"""Folders without a recipe: what commands really wrote is found, what is damaged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from talos_engine.errors import ArtifactError, CorruptFileError, WrongKindError
from talos_engine.reporting.document import Document, Listing
from talos_engine.reporting.figures import Heatmap
from talos_engine.reporting.gathering import gather_report
from talos_engine.reporting.scanning import MOST_FILES, scan_folder
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.disentangle import DisentangleRequest, disentangle
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.opening import Common


@pytest.fixture(scope="module")
def outputs(toy_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a shell script might leave: masks, a merged model with its search, metrics."""
    folder = tmp_path_factory.mktemp("script")
    common = Common(device="cpu")
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    tasks = ("toy-a", "toy-b")
    for task in "ab":
        shutil.copy(toy_files.mask(task), folder / f"{task}.mask.safetensors")
    merged = folder / "merged.safetensors"
    add_vectors(AddRequest(vectors, merged, search=True, tasks=tasks, common=common))
    evaluate(EvaluateRequest((), tasks, folder / "zero.json", model="toy-clip", common=common))
    evaluate(
        EvaluateRequest((merged,), tasks, folder / "merged.json", singles=vectors, common=common)
    )
    disentangle(DisentangleRequest(vectors, folder / "xi.json", grid=3, points=16, common=common))
    (folder / "config.json").write_text("{}")
    return folder


def titles(document: Document) -> list[str]:
    return [section.title for section in document.sections]


def test_everything_that_commands_wrote_is_found(outputs: Path) -> None:
    document = gather_report(outputs)
    assert titles(document) == [
        "Accuracy",
        "Coefficients of addition",
        "Disentanglement",
        "Masks",
        "How it was made",
    ]
    assert dict(document.facts)["model"] == "toy-clip"
    masks = [block for block in document.sections[3].blocks if isinstance(block, Heatmap)]
    assert [mask.title for mask in masks[1:]] == ["a.mask", "b.mask"]
    overlap = masks[0].values
    assert overlap[0][0] == overlap[1][1] == 1.0
    assert overlap[0][1] == overlap[1][0]
    provenance = document.sections[-1].blocks
    files = [row[0] for block in provenance if isinstance(block, Listing) for row in block.rows]
    assert {"merged.json", "zero.json", "xi.json", "a.mask.safetensors"} <= set(files)
    assert any("config.json" in getattr(block, "text", "") for block in provenance)


def test_the_numbers_are_those_of_the_files(outputs: Path) -> None:
    (table,) = gather_report(outputs).sections[0].blocks
    rows = {row.label: row.cells for row in table.rows}  # type: ignore[union-attr]
    merged = json.loads((outputs / "merged.json").read_text())
    assert rows["merged"]["mean"].mean == pytest.approx(merged["mean"])
    assert rows["merged"]["normalized"].mean == pytest.approx(merged["normalized"])
    for task in ("toy-a", "toy-b"):
        assert rows["merged"][f"task {task}"].mean == merged["tasks"][task]["accuracy"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("cut.json", '{"schema": 1, "comm', CorruptFileError),
        ("nan.json", '{"schema": 1, "command": "add", "coef": NaN}', CorruptFileError),
        ("newer.json", '{"schema": 99, "command": "add"}', WrongKindError),
        ("odd.json", '{"schema": 1, "command": "disentangle", "coefs": "x"}', CorruptFileError),
        ("odd.json", '{"schema": 1, "command": "profile", "methods": []}', CorruptFileError),
        ("odd.json", '{"schema": 1, "command": "evaluate", "results": [3], "model": {"name": "m"}}',
         CorruptFileError),
        ("cut.mask.safetensors", "short", ArtifactError),
    ],
)  # fmt: skip
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str, error: type) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=name.replace(".", r"\.")):
        gather_report(tmp_path)


def test_metrics_of_unknown_commands_are_listed(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"schema": 1, "command": "later"}')
    (document,) = [gather_report(tmp_path)]
    assert titles(document) == ["How it was made"]
    assert "x.json" in document.sections[0].blocks[1].text  # type: ignore[union-attr]


def test_folders_without_anything_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing that talos wrote"):
        gather_report(tmp_path)
    with pytest.raises(ArtifactError, match="no folder"):
        gather_report(tmp_path / "none")


def test_links_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.json").symlink_to("/dev/zero")
    (tmp_path / ".hidden.json").write_text("{")
    assert scan_folder(tmp_path).metrics == scan_folder(tmp_path).others == []


def test_folders_with_too_many_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_FILES > 1000
    monkeypatch.setattr("talos_engine.reporting.scanning.MOST_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.json").write_text("{}")
    with pytest.raises(ArtifactError, match="more than 2 files"):
        scan_folder(tmp_path)
