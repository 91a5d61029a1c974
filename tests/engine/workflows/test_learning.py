"""AdaMerging over files: what data it sees, that it learns, what it records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import hash_tensors, read_checkpoint, read_vector, write_vector
from talos_engine.errors import MismatchError, OptionError
from talos_engine.workflows import opening
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.learning import learned_in_words, unlabeled_part
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)
OPTIONS = {"adamerging_steps": 15, "adamerging_lr": 0.02}


def request(files: Any, out: Path, method: str = "adamerging-task", **more: Any) -> AddRequest:
    vectors = tuple(files.vector(task) for task in "ab")
    return AddRequest(vectors, out, method=method, options={**OPTIONS, **more}, common=CPU)


@pytest.mark.parametrize("method", ["adamerging-task", "adamerging-layer"])
def test_entropy_falls_and_the_coefficients_are_recorded(
    toy_files: Any, tmp_path: Path, method: str
) -> None:
    result = add_vectors(request(toy_files, tmp_path / "m", method))
    learned = read_checkpoint(tmp_path / "m").header.config["learned"]
    assert learned["max"] == 4.0, "the vectors are 75% sparse"
    assert learned["entropy"]["last"] < learned["entropy"]["first"]
    lambdas = learned["lambdas"]
    rows = list(lambdas.values()) if method == "adamerging-layer" else [lambdas]
    assert all(len(row) == 2 for row in rows)
    assert any(value != 0.3 for row in rows for value in row)
    assert result.coefs == (1.0, 1.0)
    if method == "adamerging-task":  # the model is that of these coefficients
        vectors = tuple(toy_files.vector(task) for task in "ab")
        add_vectors(AddRequest(vectors, tmp_path / "s", coefs=tuple(lambdas), common=CPU))
        one, two = (read_checkpoint(tmp_path / name).tensors for name in "ms")
        assert hash_tensors(one) == hash_tensors(two)


@pytest.mark.parametrize("method", ["adamerging-task", "adamerging-layer"])
def test_the_card_tells_what_was_learned(toy_files: Any, tmp_path: Path, method: str) -> None:
    result = add_vectors(request(toy_files, tmp_path / "m", method))
    assert result.card is not None
    text = result.card.read_text("utf-8")
    config = read_checkpoint(tmp_path / "m").header.config
    lambdas = config["learned"]["lambdas"]
    for position, item in enumerate(config["inputs"]):
        (row,) = (line for line in text.splitlines() if item["sha256"] in line)
        if method == "adamerging-task":
            told = f"{lambdas[position]:.6g}"
        else:
            own = [each[position] for each in lambdas.values()]
            told = f"min {min(own):.4g}, mean {sum(own) / len(own):.4g}, max {max(own):.4g}"
        assert f"| 1.0 | {told} |" in row
    assert "between 0 and 4\n" in text, "the largest coefficient that the sparsity allows"
    assert "None" not in text
    given = add_vectors(request(toy_files, tmp_path / "n", method, adamerging_max=0.25))
    assert given.card is not None
    assert "between 0 and 0.25\n" in given.card.read_text("utf-8")


def test_tensors_that_a_vector_does_not_list_are_no_part_of_its_coefficients(
    toy_files: Any,
) -> None:
    vector = read_vector(toy_files.vector("a"))
    name, *others = vector.shapes
    rows = {name: [0.5], **{key: [0.3] for key in others}, "stranger": [0.9]}
    notes = {"lambdas": rows, "max": 1.0, "entropy": {"first": 2.0, "last": 1.0}}
    assert learned_in_words(notes, [vector])[1][0].endswith("max 0.5")
    rows = {"stranger": [0.9]}
    assert learned_in_words({**notes, "lambdas": rows}, [vector])[1] == ["–"]


def test_the_same_seed_gives_the_same_bytes(toy_files: Any, tmp_path: Path) -> None:
    contents = []
    for seed in (1, 1, 2):
        common = dataclasses.replace(CPU, seed=seed)
        add_vectors(dataclasses.replace(request(toy_files, tmp_path / "m"), common=common))
        contents.append((tmp_path / "m").read_bytes())
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(("transductive", "split"), [(None, "val"), (True, "test")])
def test_only_the_declared_data_is_read(
    toy_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transductive: bool | None,
    split: str,
) -> None:
    asked = []
    load = opening.load_split
    monkeypatch.setattr(
        opening,
        "load_split",
        lambda spec, name: asked.append((spec.name, name)) or load(spec, name),
    )
    add_vectors(request(toy_files, tmp_path / "m", transductive=transductive))
    assert asked == [("toy-a", split), ("toy-b", split)]
    config = read_checkpoint(tmp_path / "m").header.config
    assert config["options"]["transductive"] is bool(transductive)


def test_a_part_of_the_examples_is_declared_unlabeled(toy_session: Session) -> None:
    task = toy_session.evaluation_task("toy-a", "val")
    part = unlabeled_part(task)
    assert len(part.inputs) == 4
    assert part.inputs.tolist() == task.inputs[[0, 2, 4, 6]].tolist()


def test_a_coefficient_comes_last_and_can_be_searched(toy_files: Any, tmp_path: Path) -> None:
    found = add_vectors(
        dataclasses.replace(request(toy_files, tmp_path / "m"), search=True, grid="plain")
    )
    assert found.search is not None
    again = dataclasses.replace(request(toy_files, tmp_path / "n"), coefs=found.coefs[:1])
    add_vectors(again)
    one, two = (read_checkpoint(tmp_path / name).tensors for name in "mn")
    assert hash_tensors(one) == hash_tensors(two)


def test_what_cannot_be_learned(toy_files: Any, tmp_path: Path) -> None:
    vector = read_vector(toy_files.vector("a"))
    header = dataclasses.replace(vector.header, task="")
    write_vector(tmp_path / "v", dataclasses.replace(vector, header=header))
    nameless = dataclasses.replace(request(toy_files, tmp_path / "m"), vectors=(tmp_path / "v",))
    with pytest.raises(OptionError, match="record their tasks"):
        add_vectors(nameless)
    with pytest.raises(OptionError, match="does not go with negate"):
        negate_vector(
            NegateRequest(
                toy_files.vector("a"),
                tmp_path / "n",
                method="adamerging-task",
                coef=1.0,
                common=CPU,
            )
        )
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_linearized_vectors_are_refused(toy_files: Any, tmp_path: Path) -> None:
    """And ``sum`` of them records that the result is evaluated linearized."""
    paths = []
    for task in "ab":
        vector = read_vector(toy_files.vector(task))
        config = {**vector.header.config, "evaluation": "linearized"}
        header = dataclasses.replace(vector.header, config=config)
        paths.append(tmp_path / f"{task}.vector.safetensors")
        write_vector(paths[-1], dataclasses.replace(vector, header=header))
    before = set(tmp_path.iterdir())
    asked = dataclasses.replace(request(toy_files, tmp_path / "m"), vectors=tuple(paths))
    with pytest.raises(MismatchError, match="evaluated linearized"):
        add_vectors(asked)
    assert set(tmp_path.iterdir()) == before
    add_vectors(AddRequest(tuple(paths), tmp_path / "s", coefs=(1.0,), common=CPU))
    assert read_checkpoint(tmp_path / "s").header.config["evaluation"] == "linearized"
