"""What every workflow starts with: sessions, subsets of points, the order of merging."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from talos_engine.artifacts import read_checkpoint, read_vector
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import MismatchError, OptionError
from talos_engine.models.loading import load_weights
from talos_engine.workflows.bases import check_base, check_encoder_only
from talos_engine.workflows.opening import Common, Session, resolve_model
from talos_engine.workflows.vector_reading import apply_vector, merge_order


def test_a_subset_of_points_is_fixed_by_the_seed_and_keeps_pairs(toy_session: Session) -> None:
    whole = toy_session.evaluation_task("toy-a", "test")
    some, again, other = (
        toy_session.evaluation_task("toy-a", "test", 12, seed) for seed in (3, 3, 4)
    )
    assert torch.equal(some.inputs, again.inputs)
    assert not torch.equal(some.inputs, other.inputs)
    places = [
        next(at for at in range(48) if torch.equal(whole.inputs[at], one)) for one in some.inputs
    ]
    assert places == sorted(set(places)), "each once, in the split's order"
    assert some.labels.tolist() == whole.labels[places].tolist()


def test_more_points_than_there_are_means_all(toy_session: Session) -> None:
    assert len(toy_session.evaluation_task("toy-a", "val", 1000).labels) == 8
    assert len(toy_session.evaluation_task("toy-a", "val", 8).labels) == 8
    assert len(toy_session.evaluation_task("toy-a", "val", 0).labels) == 8


def test_prepared_inputs_belong_to_the_split(toy_session: Session) -> None:
    split = load_split(find_task("toy-b"), "val")
    inputs, labels = toy_session.prepare(split)
    assert inputs.shape == (8, 3, 32, 32)
    assert labels.tolist() == split.labels.tolist()
    assert labels.dtype is torch.int64


def test_merge_order_is_by_task_then_content_whatever_the_storage(toy_files: Any) -> None:
    vectors = [read_vector(toy_files.vector(task)) for task in "cab"]
    assert merge_order(vectors) == [1, 2, 0]
    same_task = [
        dataclasses.replace(vector, header=dataclasses.replace(vector.header, task="t"))
        for vector in vectors
    ]
    order = [id(same_task[at]) for at in merge_order(same_task)]
    turned = same_task[::-1]
    assert [id(turned[at]) for at in merge_order(turned)] == order
    dense = [read_vector(toy_files.vector(task, "talos", "never")) for task in "cab"]
    dense = [
        dataclasses.replace(vector, header=dataclasses.replace(vector.header, task="t"))
        for vector in dense
    ]
    assert merge_order(dense) == merge_order(same_task)


def test_the_model_is_the_named_or_the_recorded_one() -> None:
    other = load_weights("toy-other").info
    assert resolve_model("toy-clip", [other]).info.name == "toy-clip"
    assert resolve_model(None, [other]).info == other
    with pytest.raises(OptionError, match="no model given"):
        resolve_model(None, [])


def test_a_foreign_base_is_refused_with_both_hashes() -> None:
    from pathlib import Path

    weights, other = load_weights("toy-clip"), load_weights("toy-other").info
    assert check_base(weights, weights.info, Path("x")) == weights.info
    with pytest.raises(MismatchError) as caught:
        check_base(weights, other, Path("some.file"))
    for text in ("some.file", weights.info.hash[:12], other.hash[:12]):
        assert text in caught.value.message


def test_a_vector_is_exact_on_its_base_and_added_on_any_other_model(toy_files: Any) -> None:
    vector = read_vector(toy_files.vector("a", "nonlinear"))
    assert sum(len(entry.fix_index) for entry in vector.entries.values()) > 50
    base = load_weights("toy-clip")
    tuned = read_checkpoint(toy_files.checkpoint("a", "nonlinear")).tensors
    exact = apply_vector(base, vector)
    assert all(torch.equal(value, tuned[name]) for name, value in exact.items())
    other = load_weights(str(toy_files.checkpoint("b", "nonlinear")))
    for name, value in apply_vector(other, vector).items():
        before = other.tensors[name].double()
        expected = (before + vector.entries[name].dense().double()).float()
        assert torch.equal(value, expected), "entries of θ* belong to the vector's own base alone"


def test_edits_outside_the_encoder_are_named(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    check_encoder_only(structure.trainable, structure, "x")
    with pytest.raises(MismatchError, match=r"the file changes 'logit_scale'"):
        check_encoder_only(["visual.proj", "logit_scale"], structure, "the file")


def test_common_records_only_what_changes_tensors() -> None:
    common = Common(seed=3, device="cpu", dtype="bfloat16", threads=2, force=True)
    assert common.recorded() == {"dtype": "bfloat16"}
