"""``add`` over files: the identities of merging, the search against rebuilt models, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from talos_engine.artifacts import (
    checkpoint_folder,
    hash_tensors,
    make_entry,
    read_checkpoint,
    read_metrics,
    read_vector,
    write_vector,
)
from talos_engine.errors import (
    CorruptFileError,
    MismatchError,
    OptionError,
    OutputError,
    UnknownNameError,
    WrongKindError,
)
from talos_engine.evaluation.accuracy import measure_accuracy
from talos_engine.evaluation.coefficients import coefficient_grid
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)
COEFS = st.floats(-3, 3, width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("add")


def merged(
    folder: Path, vectors: Sequence[Path], coefs: Sequence[float], model: str | None = None
) -> dict[str, Tensor]:
    """Tensors of the checkpoint that ``add`` writes."""
    out = folder / "merged.safetensors"
    add_vectors(AddRequest(tuple(vectors), out, model=model, coefs=tuple(coefs), common=CPU))
    return read_checkpoint(out).tensors


def same_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return hash_tensors(first) == hash_tensors(second)


def theta0() -> dict[str, Tensor]:
    return dict(load_weights("toy-clip").tensors)


def dense_change(path: Path) -> dict[str, Tensor]:
    return {name: entry.dense().double() for name, entry in read_vector(path).entries.items()}


@pytest.mark.parametrize("sparse", ["auto", "always", "never"])
@pytest.mark.parametrize("method", ["talos", "nonlinear"])
@pytest.mark.parametrize("task", ["a", "b"])
def test_one_vector_with_coefficient_one_is_the_fine_tuned_model_bit_for_bit(
    toy_files: Any, folder: Path, task: str, method: str, sparse: str
) -> None:
    tuned = read_checkpoint(toy_files.checkpoint(task, method)).tensors
    assert same_bits(merged(folder, [toy_files.vector(task, method, sparse)], [1.0]), tuned)


@pytest.mark.parametrize("coefs", [[0.0], [-0.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("method", ["talos", "nonlinear"])
def test_coefficient_zero_is_the_base_bit_for_bit(
    toy_files: Any, folder: Path, method: str, coefs: list[float]
) -> None:
    vectors = [toy_files.vector(task, method) for task in "abc"]
    assert same_bits(merged(folder, vectors, coefs), theta0())


@settings(max_examples=12)
@given(st.lists(COEFS, min_size=3, max_size=3), st.sampled_from(["talos", "nonlinear"]))
def test_the_sum_is_rounded_once(
    toy_files: Any, folder: Path, coefs: list[float], method: str
) -> None:
    """Against a float64 sum by hand."""
    vectors = [toy_files.vector(task, method) for task in "abc"]
    found = merged(folder, vectors, coefs)
    changes = [dense_change(path) for path in vectors]
    for name, before in theta0().items():
        total = before.double()
        for coef, change in zip(coefs, changes, strict=True):
            total = total + coef * change.get(name, torch.zeros(before.shape).double())
        expected = total.float()
        gap = (found[name] - expected).abs()
        unit = torch.finfo(torch.float32).eps * expected.abs()
        assert bool((gap <= unit).all()), name
        assert float((gap > 0).double().mean()) < 1e-3, "and nearly always the very same bits"


@settings(max_examples=8)
@given(st.lists(COEFS, min_size=3, max_size=3), st.booleans())
def test_the_order_of_the_inputs_does_not_change_a_bit(
    toy_files: Any, folder: Path, coefs: list[float], shared: bool
) -> None:
    vectors = [toy_files.vector("a"), toy_files.vector("b", "nonlinear"), toy_files.vector("c")]
    contents = set()
    for order in itertools.permutations(range(3)):
        chosen = coefs[:1] if shared else [coefs[at] for at in order]
        out = folder / "ordered.safetensors"
        add_vectors(
            AddRequest(tuple(vectors[at] for at in order), out, coefs=tuple(chosen), common=CPU)
        )
        contents.add(out.read_bytes())
    assert len(contents) == 1, "not even the file differs"


def test_the_order_of_vectors_of_one_task_does_not_matter_either(
    toy_files: Any, folder: Path
) -> None:
    """Three vectors that all record the same task, in sparse and dense storage."""
    vectors = []
    for number, task in enumerate("abc"):
        vector = read_vector(toy_files.vector(task))
        header = dataclasses.replace(vector.header, task="toy-a")
        path = folder / f"same{number}"
        write_vector(path, dataclasses.replace(vector, header=header), force=True)
        vectors.append(path)
    coefs = [0.3, -0.7, 1.1]
    results = {
        hash_tensors(merged(folder, [vectors[at] for at in order], [coefs[at] for at in order]))
        for order in itertools.permutations(range(3))
    }
    assert len(results) == 1


@settings(max_examples=8)
@given(st.lists(COEFS, min_size=3, max_size=3), st.sampled_from(["talos", "nonlinear"]))
def test_sparse_and_dense_files_of_one_vector_give_the_same_model(
    toy_files: Any, folder: Path, coefs: list[float], method: str
) -> None:
    ways = (("auto",) * 3, ("always",) * 3, ("never",) * 3, ("never", "auto", "always"))
    results = {
        hash_tensors(
            merged(
                folder,
                [toy_files.vector(t, method, how) for t, how in zip("abc", way, strict=True)],
                coefs,
            )
        )
        for way in ways
    }
    assert len(results) == 1


def within_two_roundings(
    found: dict[str, Tensor], between: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    half = torch.finfo(torch.float32).eps / 2
    for name, value in expected.items():
        gap = (found[name].double() - value.double()).abs()
        # One rounding of the model in between, one of the result.
        allowed = 1.001 * half * (between[name].double().abs() + found[name].double().abs()) + 1e-44
        assert bool((gap <= allowed).all()), (name, float(gap.max()))


@settings(max_examples=10)
@given(st.one_of(st.just(1.0), COEFS), st.sampled_from(["talos", "nonlinear"]))
def test_adding_then_negating_comes_back_within_two_roundings(
    toy_files: Any, folder: Path, coef: float, method: str
) -> None:
    vector, there, back = toy_files.vector("a", method), folder / "there", folder / "back"
    between = merged(folder, [vector], [coef])
    shutil.copy(folder / "merged.safetensors", there)
    negate_vector(NegateRequest(vector, back, model=str(there), coef=coef, common=CPU))
    found = read_checkpoint(back)
    # coefficient 1 restores θ*, which θ0 + τ may miss by one more rounding of τ.
    slack = {n: between[n].abs() + theta0()[n].abs() for n in between} if coef == 1 else between
    within_two_roundings(found.tensors, slack, theta0())
    assert found.header.base.hash == load_weights("toy-clip").info.hash


@settings(max_examples=10)
@given(st.one_of(st.just(1.0), COEFS), st.sampled_from(["talos", "nonlinear"]))
def test_negating_then_adding_comes_back_within_two_roundings(
    toy_files: Any, folder: Path, coef: float, method: str
) -> None:
    """At coefficient 1 too: θ*'s own bits belong to θ0 + τ alone."""
    vector, there = toy_files.vector("a", method), folder / "negated"
    negate_vector(NegateRequest(vector, there, coef=coef, common=CPU))
    between = read_checkpoint(there).tensors
    within_two_roundings(merged(folder, [vector], [coef], str(there)), between, theta0())


def test_task_analogies(toy_files: Any, folder: Path) -> None:
    """C + B − A, one coefficient per vector in the order of the vectors."""
    a, b, c = (toy_files.vector(task) for task in "abc")
    found = merged(folder, [c, b, a], [1.0, 1.0, -1.0])
    change = [dense_change(path) for path in (a, b, c)]
    for name, before in theta0().items():
        zero = torch.zeros(before.shape).double()
        parts = [each.get(name, zero) for each in change]
        expected = (before.double() + (parts[2] + parts[1] - parts[0])).float()
        torch.testing.assert_close(found[name], expected, rtol=2e-7, atol=0)
    swapped = merged(folder, [a, b, c], [1.0, 1.0, -1.0])
    assert not same_bits(found, swapped)


def test_one_coefficient_counts_for_all(toy_files: Any, folder: Path) -> None:
    vectors = [toy_files.vector(task) for task in "ab"]
    once, each = merged(folder, vectors, [0.25]), merged(folder, vectors, [0.25, 0.25])
    for name, value in once.items():
        torch.testing.assert_close(value, each[name], rtol=2e-7, atol=0)
    result = add_vectors(AddRequest(tuple(vectors), folder / "x", coefs=(0.25,), common=CPU))
    assert result.coefs == (0.25, 0.25)


def test_the_same_request_gives_the_same_bytes_and_says_what_was_added(
    toy_files: Any, tmp_path: Path
) -> None:
    vectors = (toy_files.vector("b"), toy_files.vector("a"))
    for name in ("one", "two"):
        add_vectors(AddRequest(vectors, tmp_path / name, coefs=(0.5, -2.0), common=CPU))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    header = read_checkpoint(tmp_path / "one").header
    assert header.method == "add:sum"
    assert header.task == ""
    told = [(item["task"], item["coef"]) for item in header.config["inputs"]]
    assert told == [("toy-a", -2.0), ("toy-b", 0.5)]


def test_searching_equals_trying_every_file(toy_files: Any, tmp_path: Path) -> None:
    """The curve is that of the checkpoints which ``add --coef`` writes, evaluated one by one."""
    vectors = tuple(toy_files.vector(task) for task in "ab")
    out = tmp_path / "searched.safetensors"
    result = add_vectors(AddRequest(vectors, out, search=True, grid="union", common=CPU))
    assert result.search is not None
    grid = coefficient_grid("union", [0.75, 0.75])
    assert [point.coef for point in result.search.curve] == list(grid)

    def accuracies(path: Path) -> dict[str, float]:
        backbone = build_backbone(load_weights(str(path)))
        session = Session(backbone.weights, backbone, CPU.runtime())
        return {
            name: measure_accuracy(session.evaluation_task(name, "val"), session.runtime).value
            for name in ("toy-a", "toy-b")
        }

    single = {f"toy-{t}": accuracies(toy_files.checkpoint(t))[f"toy-{t}"] for t in "ab"}
    assert result.search.reference == pytest.approx(single)
    best = (-1.0, 0.0)
    for point in result.search.curve:
        tried = tmp_path / "tried.safetensors"
        add_vectors(AddRequest(vectors, tried, coefs=(point.coef,), common=CPU))
        found = accuracies(tried)
        assert point.accuracy == found
        objective = sum(found[name] / single[name] for name in single) / 2
        assert point.objective == pytest.approx(objective)
        if objective > best[0] + 1e-12:
            best = (objective, point.coef)
    assert result.search.chosen.coef == best[1]
    assert result.coefs == (best[1], best[1])
    again = merged(tmp_path, vectors, [best[1]])
    assert same_bits(read_checkpoint(out).tensors, again), "the model found is the one written"


def test_the_search_report_keeps_the_whole_curve(toy_files: Any, tmp_path: Path) -> None:
    out = tmp_path / "searched.safetensors"
    vectors = (toy_files.vector("a"), toy_files.vector("b", "nonlinear"))
    result = add_vectors(
        AddRequest(vectors, out, search=True, tasks=("toy-b",), grid="plain", common=CPU)
    )
    assert result.report == tmp_path / "searched.search.json"
    report = read_metrics(result.report)
    assert report["command"] == "add"
    assert report["split"] == "val"
    assert report["coef"] == result.coefs[0]
    assert len(report["curve"]) == 21
    assert set(report["curve"][0]["accuracy"]) == {"toy-b"}
    assert [item["path"] for item in report["inputs"]] == [str(path) for path in vectors]


def test_only_validation_data_is_looked_at(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_engine.workflows import opening

    asked = []
    load = opening.load_split
    monkeypatch.setattr(
        opening, "load_split", lambda spec, name: asked.append(name) or load(spec, name)
    )
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    add_vectors(AddRequest(vectors, tmp_path / "m", search=True, grid="plain", common=CPU))
    assert set(asked) == {"val"}


def test_plain_differences_are_taken_where_the_model_is_named(
    toy_files: Any, tmp_path: Path
) -> None:
    change = dense_change(toy_files.vector("a"))
    plain = tmp_path / "plain.safetensors"
    save_file({n: change.get(n, torch.zeros(v.shape)).float() for n, v in theta0().items()}, plain)
    ours = merged(tmp_path, [toy_files.vector("a")], [0.5])
    assert same_bits(merged(tmp_path, [plain], [0.5], "toy-clip"), ours)
    with pytest.raises(WrongKindError) as caught:
        merged(tmp_path, [plain], [0.5])
    assert "--model" in caught.value.hint


def test_plain_differences_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = {name: torch.full(value.shape, 0.1) for name, value in theta0().items()}
    name = "visual.ln_pre.bias"
    for number, odd in enumerate(
        (
            {**good, "visual.unknown": torch.ones(2)},
            {**good, name: torch.ones(8)},
            {**good, name: torch.ones(16).half()},
            {key: value.double() for key, value in good.items()},
        )
    ):
        path = tmp_path / f"odd{number}.safetensors"
        save_file(odd, path)
        for coef in (0.5, 1.0):
            with pytest.raises(MismatchError, match=f"odd{number}"):
                merged(tmp_path, [path], [coef], "toy-clip")
    assert not (tmp_path / "merged.safetensors").exists()


def test_edits_outside_the_encoder_are_not_searched(tmp_path: Path, toy_files: Any) -> None:
    """The head is made from the base's text tower: such a model would be measured wrong."""
    vector = read_vector(toy_files.vector("a"))
    before = theta0()["ln_final.bias"]
    entry = make_entry(before, before + 1)
    assert entry is not None
    entries = {**vector.entries, "ln_final.bias": entry}
    path = tmp_path / "text.safetensors"
    write_vector(path, dataclasses.replace(vector, entries=entries))
    with pytest.raises(MismatchError, match=r"ln_final\.bias"):
        add_vectors(AddRequest((path,), tmp_path / "m", search=True, common=CPU))
    assert not (tmp_path / "m").exists()


def test_vectors_of_different_bases_are_refused(toy_files: Any, tmp_path: Path) -> None:
    vector = read_vector(toy_files.vector("b"))
    header = dataclasses.replace(vector.header, base=load_weights("toy-other").info)
    foreign = tmp_path / "foreign"
    write_vector(foreign, dataclasses.replace(vector, header=header))
    for vectors in ((toy_files.vector("a"), foreign), (foreign, toy_files.vector("a"))):
        with pytest.raises(MismatchError, match="different bases"):
            merged(tmp_path, vectors, [1.0])
    with pytest.raises(MismatchError, match="another base"):
        merged(tmp_path, [foreign], [1.0], "toy-clip")
    assert not (tmp_path / "merged.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"coefs": ()}, OptionError, "--coef must be given once"),
        ({"coefs": (1.0, 2.0, 3.0)}, OptionError, r"once per vector \(2\); got 3"),
        ({"coefs": (float("nan"),)}, OptionError, "finite"),
        ({"coefs": (1.0, float("inf"))}, OptionError, "finite"),
        ({"search": True}, OptionError, "exclude each other"),
        ({"tasks": ("toy-a",)}, OptionError, "--task and --grid only go with --search"),
        ({"method": "average"}, UnknownNameError, "average"),
        ({"options": {"density": 0.2}}, OptionError, "--density"),
        ({"vectors": ()}, OptionError, "no vector"),
        ({"model": "tiny-clop"}, UnknownNameError, "tiny-clop"),
        ({"coefs": (), "search": True, "tasks": ("toy-c",)}, OptionError, "toy-c"),
        ({"coefs": (), "search": True, "tasks": ("toys",)}, UnknownNameError, "toys"),
        ({"coefs": (), "search": True, "grid": "fine"}, OptionError, "grid"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    toy_files: Any, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    request = AddRequest(vectors, tmp_path / "m", coefs=(1.0,), common=CPU)
    with pytest.raises(error, match=words):
        add_vectors(dataclasses.replace(request, **change))
    assert list(tmp_path.iterdir()) == []


def test_bad_files_write_nothing(toy_files: Any, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(toy_files.vector("a").read_bytes()[:-5])
    flipped = tmp_path / "flipped"
    content = bytearray(toy_files.vector("a").read_bytes())
    content[-20] ^= 1
    flipped.write_bytes(content)
    for path in (cut, flipped):
        with pytest.raises(CorruptFileError, match=path.name):
            merged(tmp_path, [path], [1.0])
    for path in (toy_files.mask("a"), toy_files.checkpoint("a")):
        with pytest.raises(WrongKindError, match="a task vector was expected"):
            merged(tmp_path, [path], [1.0])
    assert not (tmp_path / "merged.safetensors").exists()


def test_two_vectors_of_one_task_cannot_be_searched(toy_files: Any, tmp_path: Path) -> None:
    vectors = (toy_files.vector("a"), toy_files.vector("a", "nonlinear"))
    with pytest.raises(OptionError, match="different tasks"):
        add_vectors(AddRequest(vectors, tmp_path / "m", search=True, common=CPU))


def test_existing_outputs_are_kept(toy_files: Any, tmp_path: Path) -> None:
    keep = Common(device="cpu")
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    (tmp_path / "m.search.json").write_text("precious")
    with pytest.raises(OutputError, match=r"m\.search\.json exists already"):
        add_vectors(AddRequest(vectors, tmp_path / "m.safetensors", search=True, common=keep))
    assert [path.name for path in tmp_path.iterdir()] == ["m.search.json"]
    add_vectors(AddRequest(vectors, tmp_path / "m.safetensors", coefs=(1.0,), common=keep))
    with pytest.raises(OutputError, match="exists already"):
        add_vectors(AddRequest(vectors, tmp_path / "m.safetensors", coefs=(0.5,), common=keep))
    assert (tmp_path / "m.search.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("out", "more"),
    [
        ("a.safetensors", {}),
        ("./sub/../b.safetensors", {}),
        ("base.safetensors", {"model": "base.safetensors"}),
        ("base", {"model": "base.safetensors"}),  # whose card would be base.md, a vector here
        ("c", {"model": "base.safetensors", "search": True}),  # whose report is a vector here
        (".", {"method": "tall"}),
        ("shards", {"shard_bytes": 5000, "model": "shards"}),
        ("folder/model.safetensors", {"model": "folder"}),
    ],
)
def test_no_output_takes_the_place_of_an_input(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, more: dict[str, Any]
) -> None:
    names = ("a.safetensors", "b.safetensors", "base.md", "c.search.json")
    for name, task in zip(names, "abab", strict=True):
        shutil.copyfile(toy_files.vector(task), tmp_path / name)
    shutil.copyfile(toy_files.checkpoint("c"), tmp_path / "base.safetensors")
    for name in ("sub", "folder", "shards"):
        (tmp_path / name).mkdir()
    shutil.copyfile(toy_files.checkpoint("c"), tmp_path / "folder/model.safetensors")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path / "sub")
    vectors = tuple(tmp_path / name for name in names)
    coefs = () if more.get("search") else (1.0,)
    if "model" in more:
        more = {**more, "model": str(tmp_path / more["model"])}
    request = AddRequest(vectors, tmp_path / out, coefs=coefs, common=CPU, **more)
    with pytest.raises(OptionError, match=r"which is read|lies in --out"):
        add_vectors(request)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_an_output_may_lie_beside_its_base_again_and_again(toy_files: Any, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    shutil.copyfile(toy_files.checkpoint("c"), base)
    vectors = (toy_files.vector("a"),)
    request = AddRequest(vectors, tmp_path / "m", str(base), coefs=(1.0,), common=CPU)
    assert add_vectors(request).path == add_vectors(request).path


def test_shards_hold_what_one_file_holds_and_are_read_back(toy_files: Any, tmp_path: Path) -> None:
    vectors = tuple(toy_files.vector(task) for task in "ab")
    request = AddRequest(vectors, tmp_path / "one", coefs=(0.5,), common=CPU)
    whole = read_checkpoint(add_vectors(request).path)
    limit = sum(value.nbytes for value in whole.tensors.values()) // 3
    out = tmp_path / "shards.ckpt"
    done = add_vectors(dataclasses.replace(request, out=out, shard_bytes=limit))
    names = sorted(path.name for path in out.iterdir())
    count = len(names) - 1
    assert count > 1
    assert names == [
        *(f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)),
        "model.safetensors.index.json",
    ]
    index = json.loads((out / names[-1]).read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.tensors.values())
    found: dict[str, Tensor] = {}
    for name in names[:-1]:
        own = load_file(out / name)
        assert len(own) == 1 or sum(value.nbytes for value in own.values()) <= limit
        assert all(index["weight_map"][key] == name for key in own)
        found |= own
    assert same_bits(found, whole.tensors)
    assert same_bits(read_checkpoint(out).tensors, whole.tensors)
    assert read_checkpoint(out).header == whole.header
    assert same_bits(dict(load_weights(str(out)).tensors), whole.tensors)
    assert done.card is not None
    assert f"--max-shard-size={limit}" in done.card.read_text()
    back = negate_vector(
        NegateRequest(vectors[0], tmp_path / "back.ckpt", str(out), coef=0.5, shard_bytes=limit)
    )
    assert len(list(back.path.iterdir())) == len(names), "shards can be edited again"


def test_a_failing_disk_leaves_no_shard(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = AddRequest(
        (toy_files.vector("a"),), tmp_path / "c.ckpt", coefs=(0.5,), shard_bytes=5000, common=CPU
    )
    real, written = checkpoint_folder.write_artifact, []

    def break_down(path: Path, *rest: Any, **more: Any) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        real(path, *rest, **more)

    monkeypatch.setattr(checkpoint_folder, "write_artifact", break_down)
    with pytest.raises(OutputError, match="No space left"):
        add_vectors(request)
    assert len(written) == 2
    assert [path.name for path in tmp_path.iterdir()] == []
