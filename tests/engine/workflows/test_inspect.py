"""Files looked at: figures equal those of the tensors, foreign models stand by tensors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talos_engine.artifacts import (
    Header,
    Mask,
    Scores,
    TaskVector,
    file_hash,
    make_entry,
    read_mask,
    read_metrics,
    read_vector,
    write_mask,
    write_metrics,
    write_scores,
    write_vector,
)
from talos_engine.errors import ArtifactError, CorruptFileError, MismatchError, OptionError
from talos_engine.inspection.tally import count_by_kind
from talos_engine.models.loading import load_weights, open_skeleton
from talos_engine.workflows.describing import describe_file
from talos_engine.workflows.inspect import InspectRequest, InspectResult, inspect, labels_of
from talos_engine.workflows.opening import Common


def look(*files: Path, **more: Any) -> InspectResult:
    return inspect(InspectRequest(files, **more))


def toy_header(kind: str, **changes: Any) -> Header:
    fields = {
        "kind": kind,
        "base": load_weights("toy-clip").info,
        "method": "talos",
        "task": "toy-a",
        "config": {"sparsity": 0.5},
        "seed": 0,
        "data": "",
    }
    return Header(**{**fields, **changes})


def renamed(header: Header, name: str) -> Header:
    return dataclasses.replace(header, base=dataclasses.replace(header.base, name=name))


def test_a_mask_is_counted_by_kind_and_layer(toy_files: Any) -> None:
    report = describe_file(toy_files.mask())
    mask = read_mask(toy_files.mask())
    structure = open_skeleton("toy-clip").structure
    assert report.tally is not None
    assert (report.kind, report.header, report.by_tensor) == ("mask", mask.header, False)
    overall = report.tally.overall
    assert (overall.live, overall.total) == (mask.live_count, mask.total)
    everywhere = {
        name: mask.live.get(name, torch.zeros(mask.shapes[name], dtype=torch.bool))
        for name in structure.maskable
    }
    assert {
        kind: (count.live, count.total) for kind, count in report.tally.by_kind.items()
    } == count_by_kind(structure, everywhere)
    queries = "visual.transformer.resblocks.1.attn.in_proj_weight"
    count = report.tally.by_cell[1, "q"]
    assert count.live == int(everywhere[queries][:16].sum())
    assert count.total == 16 * 16
    assert set(report.tally.by_layer) == {0, 1, -1}


@pytest.mark.parametrize("sparse", ["always", "never"])
@pytest.mark.parametrize("method", ["talos", "nonlinear"])
def test_a_vector_has_norms_and_counts_the_whole_encoder(
    toy_files: Any, sparse: str, method: str
) -> None:
    path = toy_files.vector("b", method, sparse)
    report = describe_file(path)
    vector = read_vector(path)
    dense = {name: entry.dense().double().numpy() for name, entry in vector.entries.items()}
    overall = report.tally.overall if report.tally is not None else None
    assert overall is not None
    shapes = open_skeleton("toy-clip").structure.shapes
    assert overall.total == sum(int(np.prod(shape)) for shape in shapes.values())
    assert overall.live == sum(np.count_nonzero(each) for each in dense.values())
    assert overall.norm == pytest.approx(
        np.sqrt(sum(np.square(each).sum() for each in dense.values())), rel=1e-12
    )
    values = report.as_json()
    assert values["by_kind"]["other"]["live"] == (0 if method == "talos" else 288)
    assert values["config"] == vector.header.config
    json.dumps(values, allow_nan=False)


def test_scores_are_summarized_by_kind(tmp_path: Path) -> None:
    structure = open_skeleton("toy-clip").structure
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.rand(structure.shapes[name], generator=generator) for name in structure.maskable
    }
    tensors["visual.transformer.resblocks.0.attn.in_proj_bias"][16:32] = 0
    write_scores(tmp_path / "s", Scores(toy_header("scores"), tensors))
    report = describe_file(tmp_path / "s")
    assert report.scores is not None
    keys = report.scores.by_kind["k bias"]
    assert (keys.entries, keys.zeros) == (32, 16)
    convs = tensors["visual.conv1.weight"].numpy()
    assert report.scores.by_kind["conv"].median == pytest.approx(float(np.median(convs)))
    assert report.scores.overall.entries == sum(each.numel() for each in tensors.values())


@pytest.mark.parametrize("name", ["vit", "../toy-clip", ""])
def test_a_foreign_model_is_told_by_tensors(toy_files: Any, tmp_path: Path, name: str) -> None:
    vector = read_vector(toy_files.vector())
    write_vector(tmp_path / "v", TaskVector(renamed(vector.header, name), vector.entries))
    mask = read_mask(toy_files.mask())
    write_mask(tmp_path / "m", Mask(renamed(mask.header, name), mask.live, mask.shapes))
    for path, names in ((tmp_path / "v", vector.entries), (tmp_path / "m", mask.shapes)):
        report = describe_file(path)
        assert report.tally is not None
        assert report.by_tensor
        assert set(report.tally.by_kind) == set(names)
        assert "no model named" in report.notes[0]
    known = describe_file(toy_files.mask()).tally
    found = describe_file(tmp_path / "m").tally
    assert known is not None
    assert found is not None
    assert found.overall == known.overall


def test_shapes_of_another_model_of_that_name_are_told_by_tensors(tmp_path: Path) -> None:
    name = "visual.conv1.weight"
    write_mask(
        tmp_path / "m",
        Mask(toy_header("mask"), {name: torch.ones(2, 3, dtype=torch.bool)}, {name: (2, 3)}),
    )
    report = describe_file(tmp_path / "m")
    assert report.by_tensor
    assert "(2, 3), in the model (16, 3, 16, 16)" in report.notes[0]


def test_other_files_are_told_by_their_headers(toy_files: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    checkpoint = describe_file(toy_files.checkpoint()).as_json()
    weights = load_weights("toy-clip").tensors
    assert checkpoint["kind"] == "checkpoint"
    assert checkpoint["tensors"] == len(weights)
    assert checkpoint["entries"] == sum(each.numel() for each in weights.values())
    assert checkpoint["dtypes"] == ["F32"]
    assert checkpoint["method"] == "talos"
    save_file({"x": torch.zeros(2, 3).half()}, tmp_path / "plain")
    plain = describe_file(tmp_path / "plain").as_json()
    assert (plain["kind"], plain["entries"], plain["dtypes"]) == ("tensors", 6, ["F16"])
    write_metrics(tmp_path / "j", {"command": "evaluate", "mean": 0.5, "tasks": {}}, force=False)
    metrics = describe_file(tmp_path / "j").as_json()
    assert metrics["metrics"] == {"command": "evaluate", "mean": 0.5, "schema": 1}
    assert metrics["fields"] == ["command", "mean", "schema", "tasks"]


def test_masks_are_compared(toy_files: Any) -> None:
    paths = [toy_files.mask(task) for task in "abc"]
    comparison = look(*paths).comparison
    assert comparison is not None
    assert (comparison.kind, comparison.model) == ("mask", "toy-clip")
    assert comparison.labels == ("toy-a", "toy-b", "toy-c")
    masks = [read_mask(path) for path in paths]
    flat = [
        np.concatenate(
            [
                mask.live.get(name, torch.zeros(shape, dtype=torch.bool)).flatten().numpy()
                for name, shape in mask.shapes.items()
            ]
        )
        for mask in masks
    ]
    expected = [[(a & b).sum() / (a | b).sum() for b in flat] for a in flat]
    np.testing.assert_allclose(comparison.as_json()["iou"], expected, rtol=1e-15)


def test_vectors_are_compared_however_they_are_stored(toy_files: Any) -> None:
    """talos (sparse) against nonlinear (dense), and each stored both ways."""
    pairs = [
        look(toy_files.vector("a", "talos", one), toy_files.vector("a", "nonlinear", two))
        for one, two in (("always", "never"), ("never", "always"))
    ]
    measured = [pair.comparison.as_json() for pair in pairs if pair.comparison is not None]
    assert measured[0] == measured[1]
    found = measured[0]
    assert found["labels"] == ["talos toy-a", "nonlinear toy-a"], "the task tells nothing apart"
    dense = []
    for method in ("talos", "nonlinear"):
        vector = read_vector(toy_files.vector("a", method))
        shapes = open_skeleton("toy-clip").structure.shapes
        dense.append(
            np.concatenate(
                [
                    vector.entries[name].dense().double().flatten().numpy()
                    if name in vector.entries
                    else np.zeros(int(np.prod(shape)))
                    for name, shape in shapes.items()
                ]
            )
        )
    a, b = dense
    assert found["cosine"][0][1] == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-9
    )
    both = (a != 0) & (b != 0)
    assert found["sign_conflicts"][0][1] == np.mean(np.sign(a[both]) != np.sign(b[both]))
    assert found["iou"][0][1] == both.sum() / ((a != 0) | (b != 0)).sum()
    np.testing.assert_allclose(found["norms"], [np.linalg.norm(a), np.linalg.norm(b)], rtol=1e-12)


def test_several_kinds_or_bases_are_listed_only(toy_files: Any, tmp_path: Path) -> None:
    mixed = look(toy_files.mask(), toy_files.vector())
    assert mixed.comparison is None
    assert [report.kind for report in mixed.files] == ["mask", "vector"]
    assert "several kinds" in mixed.notes[0]
    checkpoints = look(toy_files.checkpoint("a"), toy_files.checkpoint("b"))
    assert checkpoints.comparison is None
    mask = read_mask(toy_files.mask())
    base = dataclasses.replace(mask.header.base, hash="ab" * 32)
    header = dataclasses.replace(mask.header, base=base)
    write_mask(tmp_path / "m", dataclasses.replace(mask, header=header))
    foreign = look(toy_files.mask(), tmp_path / "m")
    assert foreign.comparison is None
    assert "ab" * 32 in foreign.notes[0]
    assert mask.header.base.hash in foreign.notes[0]


def test_shapes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for name, size in (("one", 3), ("two", 4)):
        entry = make_entry(torch.zeros(size), torch.ones(size))
        assert entry is not None
        header = renamed(toy_header("vector"), "unknown")
        write_vector(tmp_path / name, TaskVector(header, {"w": entry}))
    with pytest.raises(MismatchError, match=r"'w' has shape \(3,\) in .*one, \(4,\) in .*two"):
        look(tmp_path / "one", tmp_path / "two")


def test_the_json_file_is_a_metrics_file_with_hashes(toy_files: Any, tmp_path: Path) -> None:
    paths = [toy_files.vector("a"), toy_files.vector("b")]
    result = look(*paths, out=tmp_path / "j")
    stored = read_metrics(tmp_path / "j")
    assert stored["command"] == "inspect"
    assert [each["sha256"] for each in stored["inputs"]] == [file_hash(path) for path in paths]
    assert stored["comparison"] == json.loads(json.dumps(result.metrics["comparison"]))
    first = (tmp_path / "j").read_bytes()
    look(*paths, out=tmp_path / "j", common=Common(force=True))
    assert (tmp_path / "j").read_bytes() == first


def test_labels_tell_files_apart() -> None:
    def labels(*pairs: tuple[str, str]) -> tuple[str, ...]:
        headers = [toy_header("mask", method=method, task=task) for method, task in pairs]
        paths = [Path(f"{number}/x.safetensors") for number in range(len(pairs))]
        return labels_of(headers, paths)

    assert labels(("talos", "a"), ("talos", "b")) == ("a", "b")
    assert labels(("talos", "a"), ("random", "a")) == ("talos a", "random a")
    assert labels(("talos", "a"), ("talos", "a")) == ("0/x.safetensors", "1/x.safetensors")
    assert labels(("union", ""), ("talos", "a")) == ("0/x.safetensors", "1/x.safetensors")
    named = [Path("x/one.mask.safetensors"), Path("y/two")]
    assert labels_of([toy_header("mask")] * 2, named) == ("one.mask", "two")


@pytest.mark.parametrize("kind", ["checkpoint", "mixed", "two checkpoints", "two bases"])
def test_nothing_to_draw_is_said_at_once(toy_files: Any, tmp_path: Path, kind: str) -> None:
    mask = read_mask(toy_files.mask())
    base = dataclasses.replace(mask.header.base, hash="ab" * 32)
    write_mask(
        tmp_path / "m",
        dataclasses.replace(mask, header=dataclasses.replace(mask.header, base=base)),
    )
    files = {
        "checkpoint": [toy_files.checkpoint()],
        "mixed": [toy_files.mask(), toy_files.vector()],
        "two checkpoints": [toy_files.checkpoint("a"), toy_files.checkpoint("b")],
        "two bases": [toy_files.mask(), tmp_path / "m"],
    }[kind]
    with pytest.raises(OptionError, match="--plot"):
        look(*files, plot=tmp_path / "p.png")


def test_outputs_never_replace_what_is_inspected(toy_files: Any, tmp_path: Path) -> None:
    copy = tmp_path / "m"
    copy.write_bytes(toy_files.mask().read_bytes())
    for more in ({"out": copy}, {"plot": tmp_path / "." / "m"}):
        with pytest.raises(OptionError, match="which is read"):
            look(copy, **more, common=Common(force=True))
    with pytest.raises(OptionError, match="same file"):
        look(copy, out=tmp_path / "x", plot=tmp_path / "x")
    with pytest.raises(OptionError, match="no file"):
        look()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("which", ["mask", "vector", "checkpoint"])
def test_truncated_files_are_refused(toy_files: Any, tmp_path: Path, which: str) -> None:
    content = getattr(toy_files, which)().read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(CorruptFileError, match="cut"):
            look(tmp_path / "cut")
        with pytest.raises(CorruptFileError, match="cut"):
            look(getattr(toy_files, which)("b"), tmp_path / "cut")
    with pytest.raises(ArtifactError, match="no file"):
        look(tmp_path / "nowhere")


@pytest.mark.parametrize("which", ["mask", "vector"])
def test_a_flipped_bit_in_the_data_is_noticed(toy_files: Any, tmp_path: Path, which: str) -> None:
    content = bytearray(getattr(toy_files, which)().read_bytes())
    content[-2] ^= 4
    (tmp_path / "flipped").write_bytes(content)
    with pytest.raises(CorruptFileError, match="flipped"):
        look(tmp_path / "flipped")


def test_progress_is_told(toy_files: Any) -> None:
    seen: list[tuple[int, int]] = []

    def receive(what: str, done: int, total: int, /) -> None:
        seen.append((done, total))

    inspect(InspectRequest((toy_files.mask("a"), toy_files.mask("b"))), receive)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_empty_masks_and_vectors_can_be_looked_at(
    tmp_path: Path, toy_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mask(tmp_path / "m", Mask(toy_header("mask"), {}, read_mask(toy_files.mask()).shapes))
    write_vector(tmp_path / "v", TaskVector(toy_header("vector"), {}))
    for path in (tmp_path / "m", tmp_path / "v"):
        tally = describe_file(path).tally
        assert tally is not None
        assert tally.overall.live == 0
        assert tally.overall.total > 18_000
    found = look(tmp_path / "v", tmp_path / "v").comparison
    assert found is not None
    assert found.as_json()["cosine"] == [[None, None], [None, None]]


def test_every_kind_that_files_have_can_be_described() -> None:
    from talos_engine.artifacts import KINDS
    from talos_engine.workflows.describing import _DESCRIBE, DRAWABLE

    assert set(_DESCRIBE) == {*KINDS, "metrics", "tensors"}
    assert set(DRAWABLE) < set(_DESCRIBE)


def test_vectors_are_never_read_whole(toy_files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from talos_engine.artifacts import MaskFile, VectorFile

    def refuse(*_: object) -> None:
        raise AssertionError("read whole")

    monkeypatch.setattr(VectorFile, "read", refuse)
    monkeypatch.setattr(MaskFile, "read", refuse)
    assert look(toy_files.vector("a"), toy_files.vector("b")).comparison is not None
    assert look(toy_files.mask("a"), toy_files.mask("b")).comparison is not None
