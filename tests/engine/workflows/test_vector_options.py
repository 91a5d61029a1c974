"""Options that differ between vectors: counted, moved with their vectors, recorded with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import hash_tensors, read_checkpoint, read_metrics, read_vector
from talos_engine.errors import OptionError
from talos_engine.merging.spec import MERGE_METHODS
from talos_engine.models.loading import load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common
from talos_engine.workflows.vector_options import configure

CPU = Common(device="cpu", force=True)
DARE = MERGE_METHODS.get("dare")


def test_one_value_holds_for_all_and_equal_ones_too() -> None:
    assert configure(DARE, {"dare_drop": [0.5]}, 3) == DARE.configure({"dare_drop": 0.5})
    assert configure(DARE, {"dare_drop": [0.5, 0.5, 0.5]}, 3) == DARE.configure({"dare_drop": 0.5})
    assert configure(DARE, {"dare_drop": [0.5, 0.1]}, 2).dare_drop == (0.5, 0.1)
    assert configure(DARE, {"dare_drop": None}, 2) == DARE.configure({})


@pytest.mark.parametrize("values", [[0.5, 0.1], [0.5, 0.5], [0.1] * 4])
def test_another_count_is_refused(values: list[float]) -> None:
    with pytest.raises(OptionError, match=r"--dare-drop must be given once, or once per vector"):
        configure(DARE, {"dare_drop": values}, 3)


def test_what_holds_for_all_is_given_once() -> None:
    with pytest.raises(OptionError, match="--scope holds for all vectors"):
        configure(MERGE_METHODS.get("ties"), {"scope": ["row", "tensor"]}, 2)
    with pytest.raises(OptionError, match="not an option of method 'dare'"):
        configure(DARE, {"ties_density": [0.1, 0.2]}, 2)


@pytest.mark.parametrize(
    ("method", "name", "values"),
    [
        ("dare", "dare_drop", (0.3, 0.8)),
        ("ties", "ties_density", (0.2, 0.7)),
        ("breadcrumbs", "breadcrumbs_density", (0.2, 0.7)),
        ("consensus", "consensus_threshold", (1, 2)),
    ],
)
def test_values_belong_to_their_vectors_in_whatever_order(
    toy_files: Any, tmp_path: Path, method: str, name: str, values: tuple[float, float]
) -> None:
    paths = [toy_files.vector("a", "nonlinear"), toy_files.vector("b", "nonlinear")]

    def add(order: tuple[int, int], given: list[float]) -> Any:
        vectors = tuple(paths[at] for at in order)
        out = tmp_path / "m.safetensors"
        add_vectors(AddRequest(vectors, out, None, method, {name: given}, (0.5,), common=CPU))
        return read_checkpoint(out)

    first, second = add((0, 1), [*values]), add((1, 0), [*values[::-1]])
    assert hash_tensors(first.tensors) == hash_tensors(second.tensors)
    assert first.header == second.header
    swapped = add((1, 0), [*values])
    assert hash_tensors(first.tensors) != hash_tensors(swapped.tensors)
    recorded = {it["task"]: it["options"] for it in first.header.config["inputs"]}
    assert recorded == {"toy-a": {name: values[0]}, "toy-b": {name: values[1]}}
    assert name not in first.header.config["options"]
    card = (tmp_path / "m.md").read_text()
    flag = "--" + name.replace("_", "-")
    assert f"{flag}={values[0]} {flag}={values[1]}" in card or (
        f"{flag}={values[1]} {flag}={values[0]}" in card
    )
    assert "| options |" in card


def test_vectors_of_equal_content_are_told_apart_by_their_options(
    toy_files: Any, tmp_path: Path
) -> None:
    same = toy_files.vector("a", "nonlinear")
    found = []
    for given in ([0.3, 0.8], [0.8, 0.3]):
        out = tmp_path / "m.safetensors"
        request = AddRequest(
            (same, same), out, None, "dare", {"dare_drop": given}, (1,), common=CPU
        )
        add_vectors(request)
        found.append(read_checkpoint(out))
    assert hash_tensors(found[0].tensors) == hash_tensors(found[1].tensors)
    assert found[0].header == found[1].header


def test_negation_counts_the_vectors_beside_it(toy_files: Any, tmp_path: Path) -> None:
    """b comes first by name, so the value of a must move with it."""
    b, a = toy_files.vector("b", "nonlinear"), toy_files.vector("a", "nonlinear")
    out = tmp_path / "n.safetensors"
    options: dict[str, Any] = {"consensus_threshold": [0, 2]}
    negate_vector(NegateRequest(b, out, None, "consensus", options, (a,), 1.0, common=CPU))
    found = read_checkpoint(out)
    entries = read_vector(b).entries
    for name, before in load_weights("toy-clip").tensors.items():
        if name in entries:  # a threshold of 0 keeps all of it
            expected = (before.double() - entries[name].dense().double()).float()
            assert torch.equal(found.tensors[name], expected)
    assert found.header.config["inputs"][0]["options"] == {"consensus_threshold": 0}
    assert found.header.config["with"][0]["options"] == {"consensus_threshold": 2}
    with pytest.raises(OptionError, match=r"once per vector \(2\); got 3") as caught:
        negate_vector(
            NegateRequest(
                b, out, None, "consensus", {"consensus_threshold": [0, 1, 2]}, (a,), 1, common=CPU
            )
        )
    assert "the vector to subtract comes first" in str(caught.value.hint)


def test_a_search_reports_the_options_beside_the_vectors(toy_files: Any, tmp_path: Path) -> None:
    b, a = toy_files.vector("b"), toy_files.vector("a")
    out = tmp_path / "m.safetensors"
    options = {"breadcrumbs_density": [0.9, 0.5], "breadcrumbs_outliers": [0.0]}
    request = AddRequest((b, a), out, None, "breadcrumbs", options, search=True, grid="plain")
    add_vectors(request)
    report = read_metrics(tmp_path / "m.search.json")
    assert [it["options"] for it in report["inputs"]] == [
        {"breadcrumbs_density": 0.9},
        {"breadcrumbs_density": 0.5},
    ]
    assert report["options"]["breadcrumbs_outliers"] == 0.0
    out = tmp_path / "n.safetensors"
    negate_vector(
        NegateRequest(
            b, out, None, "ties", {"ties_density": [0.9, 0.5]}, (a,), search=True,
            control="toy-c", grid="plain",
        )
    )  # fmt: skip
    report = read_metrics(tmp_path / "n.search.json")
    assert [it["options"] for it in report["inputs"]] == [
        {"ties_density": 0.9},
        {"ties_density": 0.5},
    ]
    assert report["options"] == {"ties_merge": "mean", "scope": "global", "dialect": "official"}
