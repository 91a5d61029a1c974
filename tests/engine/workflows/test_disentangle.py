"""``disentangle`` over files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_metrics
from talos_engine.errors import OptionError, OutputError, UnknownNameError
from talos_engine.evaluation.accuracy import predict
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.disentangle import DisentangleRequest, disentangle
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)


def request_of(toy_files: Any, out: Path, **changes: Any) -> DisentangleRequest:
    vectors = (toy_files.vector("a", "nonlinear"), toy_files.vector("b", "nonlinear"))
    request = DisentangleRequest(vectors, out, grid=3, reach=8.0, common=CPU)
    return dataclasses.replace(request, **changes)


def predictions(
    vectors: tuple[Path, ...], coefs: tuple[float, ...], task: str, folder: Path
) -> list[int]:
    """Through files: ``add`` writes the model, which is loaded again and asked."""
    path = folder / "added.safetensors"
    add_vectors(AddRequest(vectors, path, coefs=coefs, common=CPU))
    backbone = build_backbone(load_weights(str(path)))
    session = Session(backbone.weights, backbone, CPU.runtime())
    return predict(session.evaluation_task(task, "test"), session.runtime).tolist()


def test_the_error_equals_that_of_models_written_by_add(toy_files: Any, tmp_path: Path) -> None:
    request = request_of(toy_files, tmp_path / "xi.json")
    result = disentangle(request)
    metrics = read_metrics(tmp_path / "xi.json")
    assert metrics["coefs"] == [-8.0, 0.0, 8.0]
    assert metrics["points"] == {"toy-a": 48, "toy-b": 48}
    first, second = request.vectors
    seen = set()
    for i, a1 in enumerate(metrics["coefs"]):
        for j, a2 in enumerate(metrics["coefs"]):
            expected = 0.0
            for task, vector, coef in (("toy-a", first, a1), ("toy-b", second, a2)):
                alone = predictions((vector,), (coef,), task, tmp_path)
                both = predictions((first, second), (a1, a2), task, tmp_path)
                expected += sum(x != y for x, y in zip(alone, both, strict=True)) / 48
            assert metrics["error"][i][j] == pytest.approx(expected)
            assert result.map.error[i][j] == metrics["error"][i][j]
            seen.add(expected)
    assert len(seen) > 2


def test_points_are_a_random_subset_keyed_by_the_seed(toy_files: Any, tmp_path: Path) -> None:
    errors = []
    for number, seed in enumerate((0, 0, 1)):
        common = dataclasses.replace(CPU, seed=seed)
        out = tmp_path / f"{number}.json"
        result = disentangle(request_of(toy_files, out, points=10, grid=5, common=common))
        assert result.map.points == {"toy-a": 10, "toy-b": 10}
        errors.append(result.map.error)
    assert errors[0] == errors[1] != errors[2]
    contents = [(tmp_path / f"{number}.json").read_bytes() for number in (0, 1)]
    assert contents[0] == contents[1]


def test_tasks_may_be_named_in_the_order_of_the_vectors(toy_files: Any, tmp_path: Path) -> None:
    result = disentangle(
        request_of(toy_files, tmp_path / "xi.json", tasks=("toy-c", "toy-a"), grid=1)
    )
    assert result.tasks == ("toy-c", "toy-a")
    assert result.map.coefs == (0.0,)
    assert result.map.error == ((0.0,),)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tasks": ("toy-a",)}, OptionError, "given twice"),
        ({"tasks": ("toy-a", "toy-a")}, OptionError, "two different tasks"),
        ({"tasks": ("toy-a", "toys")}, UnknownNameError, "toys"),
        ({"grid": 0}, OptionError, "--grid"),
        ({"reach": 0.0}, OptionError, "--range"),
        ({"reach": float("inf")}, OptionError, "--range"),
        ({"points": 0}, OptionError, "--points"),
        ({"plot": Path("nowhere/x.png")}, OutputError, "no folder"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    toy_files: Any, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        disentangle(request_of(toy_files, tmp_path / "xi.json", **change))
    assert list(tmp_path.iterdir()) == []


def test_two_vectors_of_one_task_need_their_tasks_said(toy_files: Any, tmp_path: Path) -> None:
    vectors = (toy_files.vector("a"), toy_files.vector("a", "nonlinear"))
    with pytest.raises(OptionError, match="two different tasks"):
        disentangle(request_of(toy_files, tmp_path / "xi.json", vectors=vectors))


def test_picture_and_result_cannot_be_one_file(toy_files: Any, tmp_path: Path) -> None:
    path = tmp_path / "xi"
    with pytest.raises(OptionError, match="same file"):
        disentangle(request_of(toy_files, path, plot=path))
