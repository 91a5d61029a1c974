"""Every identity of merging, for every method, over files of arbitrary models.

The models are a handful of random tensors: any shape (0-d and empty ones too), any floating dtype,
an integer buffer, fine-tuned with any share of changed entries.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.artifacts import (
    BaseInfo,
    Checkpoint,
    Header,
    TaskVector,
    VectorFile,
    hash_tensors,
    make_entry,
    read_checkpoint,
    read_vector,
    write_checkpoint,
    write_vector,
)
from talos_engine.artifacts.container import TensorFile
from talos_engine.errors import CorruptFileError, MismatchError, OptionError, OutputError
from talos_engine.merging.spec import MergeContext
from talos_engine.workflows import add, merging
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common

CPU = Common(device="cpu", force=True)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SHAPES = ((), (1,), (5,), (0,), (2, 3), (3, 0), (2, 2, 3), (17,))
METHODS: dict[str, dict[str, Any]] = {
    "sum": {},
    "mean": {},
    "ties": {},
    "ties mergekit": {"dialect": "mergekit", "ties_density": 0.5},
    "ties row": {"scope": "row", "ties_density": 0.5, "ties_merge": "sum"},
    "dare": {"dare_drop": 0.3},
    "dare mergekit": {"dialect": "mergekit", "dare_drop": 0.5},
    "breadcrumbs": {"breadcrumbs_density": 0.5},
    "breadcrumbs global": {"scope": "global", "breadcrumbs_density": 0.5},
    "breadcrumbs mergekit": {"dialect": "mergekit", "breadcrumbs_density": 0.5},
    "tall": {},
    "consensus": {"consensus_threshold": 1},
    "adamerging-task": {"adamerging_steps": 3, "adamerging_lr": 0.1},
    "adamerging-layer": {"adamerging_steps": 3, "adamerging_lr": 0.1, "adamerging_max": 0.45},
}
LEARNS = ("adamerging-task", "adamerging-layer")  # these keep the vectors in memory
NEGATED = [name for name in METHODS if name not in ("tall", *LEARNS)]


@dataclasses.dataclass(frozen=True)
class World:
    """A base and models fine-tuned from it, in a folder of files."""

    folder: Path
    theta0: dict[str, Tensor]
    tuned: list[dict[str, Tensor]]

    @property
    def base(self) -> str:
        return str(self.folder / "base")

    def vectors(self, storage: Sequence[str] | str = "auto") -> list[Path]:
        """Vector files, one after the other in the storage named."""
        paths = []
        info = BaseInfo("odd", "x", {}, hash_tensors(self.theta0))
        for number, tensors in enumerate(self.tuned):
            how: Any = storage if isinstance(storage, str) else storage[number % len(storage)]
            found = {
                name: make_entry(self.theta0[name], tensors[name], sparse=how)
                for name in self.theta0
            }
            entries = {name: entry for name, entry in found.items() if entry is not None}
            header = Header("vector", info, "talos", f"task{number // 2}", {}, 0, "")
            if number % 2:  # two vectors of one task now and then
                header = dataclasses.replace(header, task=f"other{number}")
            paths.append(self.folder / f"{number}.{how}")
            write_vector(paths[-1], TaskVector(header, entries), force=True)
        return paths

    def add(
        self, method: str, vectors: Sequence[Path], coefs: Sequence[float], model: str = ""
    ) -> dict[str, Tensor]:
        """All tensors that ``add`` writes; those of one model per task by task too."""
        name = method.split(maxsplit=1)[0]
        out = self.folder / ("models" if name == "tall" else "merged")
        request = AddRequest(
            tuple(vectors),
            out,
            model or self.base,
            name,
            METHODS[method],
            tuple(coefs),
            common=CPU,
        )
        result = add_vectors(request)
        if result.models is None:
            return read_checkpoint(out).tensors
        return {
            f"{task}/{key}": tensor
            for task, each in result.models.items()
            for key, tensor in read_checkpoint(each.path).tensors.items()
        }


@st.composite
def worlds(draw: Any) -> Callable[[Path], World]:
    seed = draw(st.integers(0, 2**32))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    few = draw(st.booleans())  # few values: equal magnitudes, cancelling sums
    specs = {
        name: (draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES)))
        for name in "abcd"[: draw(st.integers(1, 4))]
    }
    count = draw(st.integers(1, 8))

    def build(folder: Path) -> World:
        generator = torch.Generator().manual_seed(seed)

        def noise(shape: tuple[int, ...]) -> Tensor:
            values = torch.randn(shape, generator=generator)
            return (2 * values).round() / 2 if few else values

        theta0 = {name: noise(shape).to(dtype) for name, (shape, dtype) in specs.items()}
        theta0["steps"] = torch.tensor([7, 8])
        tuned = []
        for _ in range(count):
            model = dict(theta0)
            for name, (shape, dtype) in specs.items():
                moved = theta0[name] + noise(shape).to(dtype)
                live = torch.rand(shape, generator=generator) < share
                model[name] = torch.where(live, moved, theta0[name])
            tuned.append(model)
        info = BaseInfo("odd", "x", {}, hash_tensors(theta0))
        header = Header("checkpoint", info, "pretrained", "", {}, 0, "")
        write_checkpoint(folder / "base", Checkpoint(header, theta0), force=True)
        return World(folder, theta0, tuned)

    return build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


def toy_slope(step: int, deltas: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """½‖Δ − target‖² with another target in every step, and its gradient.

    In float64, as a float32 gradient makes products that float64 mostly adds without rounding.
    """
    apart = {}
    for name, delta in deltas.items():
        places = torch.arange(delta.numel(), dtype=torch.float64).reshape(delta.shape)
        apart[name] = delta - torch.cos(places + step)
    loss = sum(float(each.square().sum()) / 2 for each in apart.values())
    return loss, apart


@pytest.fixture(scope="module", autouse=True)
def toy_learning() -> Iterator[None]:
    """Methods that learn descend ``toy_slope``: these models are none, their tasks have no data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(add, "check_learning_tasks", lambda _: ())
        patch.setattr(
            add, "open_context", lambda *_: MergeContext(slope=toy_slope, stretch=1 / (1 - 0.5))
        )
        yield


def bases(world: World, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """θ0 under the names of what was found."""
    return {name: world.theta0[name.rsplit("/", 1)[-1]] for name in found}


@settings(max_examples=25)
@given(worlds(), st.sampled_from(["auto", "always", "never"]))
def test_one_vector_by_sum_is_the_fine_tuned_model_bit_for_bit(
    folder: Path, build: Callable[[Path], World], storage: str
) -> None:
    world = build(folder)
    for method in ("sum", "mean"):
        for path, tuned in zip(world.vectors(storage), world.tuned, strict=True):
            assert hash_tensors(world.add(method, [path], [1.0])) == hash_tensors(tuned)


@settings(max_examples=8)
@given(build=worlds(), zero=st.sampled_from([0.0, -0.0]), each=st.booleans())
@pytest.mark.parametrize("method", METHODS)
def test_coefficient_zero_is_the_base_bit_for_bit(
    folder: Path, method: str, build: Callable[[Path], World], zero: float, each: bool
) -> None:
    world = build(folder)
    vectors = distinct(world.vectors(), method)
    found = world.add(method, vectors, [zero] * (len(vectors) if each else 1))
    assert hash_tensors(found) == hash_tensors(bases(world, found))


def distinct(vectors: list[Path], method: str) -> list[Path]:
    """One model per task needs vectors of different tasks: every second one has its own."""
    return vectors[:1] + vectors[1::2] if method == "tall" else vectors


@settings(max_examples=8)
@given(build=worlds(), data=st.data())
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_inputs_does_not_change_a_byte(
    folder: Path, method: str, build: Callable[[Path], World], data: Any
) -> None:
    world = build(folder)
    vectors = distinct(world.vectors(), method)
    coefs = [data.draw(st.sampled_from([-1.0, 0.0, 0.3, 1.0])) for _ in vectors]
    first = hash_tensors(world.add(method, vectors, coefs)), learned(world, method)
    order = data.draw(st.permutations(range(len(vectors))))
    again = world.add(method, [vectors[at] for at in order], [coefs[at] for at in order])
    assert first == (hash_tensors(again), learned(world, method))


@settings(max_examples=8)
@given(build=worlds(), coef=st.sampled_from([1.0, 0.5, -2.0]))
@pytest.mark.parametrize("method", METHODS)
def test_storage_does_not_change_a_bit(
    folder: Path, method: str, build: Callable[[Path], World], coef: float
) -> None:
    world = build(folder)
    results = set()
    for how in ("auto", "always", "never", ("never", "always")):
        found = world.add(method, distinct(world.vectors(how), method), [coef])
        results.add((hash_tensors(found), repr(learned(world, method))))
    assert len(results) == 1


def learned(world: World, method: str) -> Any:
    """What a method that learns recorded in the header of the model made last."""
    if method not in LEARNS:
        return None
    return read_checkpoint(world.folder / "merged").header.config["learned"]


@settings(max_examples=15)
@given(build=worlds(), data=st.data())
def test_learned_coefficients_by_sum_give_the_same_model(
    folder: Path, build: Callable[[Path], World], data: Any
) -> None:
    world = build(folder)
    vectors = world.vectors()
    coefs = [data.draw(st.sampled_from([-1.0, 0.0, 0.3, 1.0])) for _ in vectors]
    learned = world.add("adamerging-task", vectors, coefs)
    config = read_checkpoint(folder / "merged").header.config
    by_task = dict(
        zip((it["task"] for it in config["inputs"]), config["learned"]["lambdas"], strict=True)
    )
    rates = [by_task[read_vector(path).header.task] for path in vectors]
    products = [coef * rate for coef, rate in zip(coefs, rates, strict=True)]
    if len(vectors) > 1:  # a single vector with coefficient 1 comes back whole, fixes and all
        assert hash_tensors(world.add("sum", vectors, products)) == hash_tensors(learned)


@settings(max_examples=8)
@given(build=worlds(), coef=st.sampled_from([0.5, 1.0, 0.3, -0.7]))
@pytest.mark.parametrize("method", NEGATED)
def test_adding_then_subtracting_comes_back_within_two_roundings(
    folder: Path, method: str, build: Callable[[Path], World], coef: float
) -> None:
    world = build(folder)
    vector = world.vectors()[0]
    between = world.add(method, [vector], [coef])
    there = folder / "there"
    shutil.copy(folder / "merged", there)
    name = method.split(maxsplit=1)[0]
    request = NegateRequest(
        vector, folder / "back", str(there), name, METHODS[method], coef=coef, common=CPU
    )
    negate_vector(request)
    for key, found in read_checkpoint(folder / "back").tensors.items():
        before = world.theta0[key]
        if not before.is_floating_point():
            assert torch.equal(found, before)
            continue
        # What is added and subtracted is the same, so only the two results are rounded: by half a
        # step of theirs, where they are subnormal by half the smallest. In float64, in which sums
        # are made, that is all; in other dtypes the sums' own rounding is less than 1% of it.
        limits = torch.finfo(before.dtype)
        size = between[key].abs().double() + found.abs().double()
        allowed = 1.01 * limits.eps / 2 * (size + 2 * limits.tiny)
        assert bool(((found.double() - before.double()).abs() <= allowed).all()), key


@settings(max_examples=15)
@given(worlds())
@pytest.mark.parametrize("method", METHODS)
def test_buffers_and_base_only_tensors_are_kept(
    folder: Path, method: str, build: Callable[[Path], World]
) -> None:
    world = build(folder)
    found = world.add(method, distinct(world.vectors(), method), [0.5])
    for name, tensor in found.items():
        before = bases(world, found)[name]
        assert tensor.dtype == before.dtype
        assert tensor.shape == before.shape
        if name.endswith("steps"):
            assert torch.equal(tensor, before)


def simple_world(folder: Path, count: int = 3) -> World:
    """Two float32 tensors, every entry changed."""
    generator = torch.Generator().manual_seed(0)
    theta0 = {name: torch.randn(4, 5, generator=generator) for name in "ab"}
    tuned = [
        {name: value + torch.randn(4, 5, generator=generator) for name, value in theta0.items()}
        for _ in range(count)
    ]
    info = BaseInfo("odd", "x", {}, hash_tensors(theta0))
    header = Header("checkpoint", info, "pretrained", "", {}, 0, "")
    write_checkpoint(folder / "base", Checkpoint(header, theta0), force=True)
    return World(folder, theta0, tuned)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in LEARNS])
def test_at_most_one_entry_is_in_memory(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an entry is read, none but the one before it is still alive, of any vector."""
    import weakref

    alive: list[weakref.ref[Tensor]] = []
    most = 0
    read = VectorFile.entry

    def counting(self: VectorFile, name: str) -> Any:
        nonlocal most, alive
        alive = [each for each in alive if each() is not None]
        most = max(most, len(alive))
        entry = read(self, name)
        alive.append(weakref.ref(entry.values))
        return entry

    monkeypatch.setattr(VectorFile, "entry", counting)
    world = simple_world(tmp_path, 8)
    world.add(method, distinct(world.vectors(), method), [1.0])
    assert most <= 1


def test_nothing_is_read_before_every_header_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last vector does not fit; no byte of any tensor is looked at before that is found."""
    from talos_engine.artifacts import TensorFile

    world = simple_world(tmp_path)
    vectors = world.vectors()
    info = BaseInfo("odd", "x", {}, hash_tensors(world.theta0))
    entry = make_entry(torch.zeros(3), torch.ones(3))
    assert entry is not None
    for number, name in enumerate(("a", "stranger")):
        odd = tmp_path / f"odd{number}"
        header = Header("vector", info, "talos", "t", {}, 0, "")
        write_vector(odd, TaskVector(header, {name: entry}))
        with monkeypatch.context() as patch:
            for reading in ("get", "stream"):
                patch.setattr(TensorFile, reading, lambda *_: pytest.fail("a tensor was read"))
            with pytest.raises(MismatchError, match=f"odd{number}.*'{name}'"):
                world.add("sum", [*vectors, odd], [1.0])
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("method", METHODS)
def test_damage_found_late_leaves_nothing(tmp_path: Path, method: str) -> None:
    world = simple_world(tmp_path)
    vectors = distinct(world.vectors("never"), method)
    content = bytearray(vectors[-1].read_bytes())
    content[-3] ^= 0x40  # in the last tensor
    vectors[-1].write_bytes(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CorruptFileError, match="'b'"):
        world.add(method, vectors, [1.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_model_is_built_and_no_data_read_without_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add, "open_session", lambda *_: pytest.fail("a model was built"))
    world = simple_world(tmp_path)
    world.add("ties", world.vectors(), [1.0])


def test_one_model_per_task_is_a_folder(tmp_path: Path) -> None:
    world = simple_world(tmp_path, 2)
    world.add("tall", world.vectors(), [1.0])
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == ["other1.md", "other1.safetensors", "task0.md", "task0.safetensors"]
    header = read_checkpoint(tmp_path / "models" / "task0.safetensors").header
    assert (header.method, header.config["options"]) == ("add:tall", {"tall_lambda": 0.4})
    (tmp_path / "models" / "mine.txt").write_text("precious")
    request = AddRequest(
        tuple(world.vectors()), tmp_path / "models", world.base, "tall", coefs=(1,)
    )
    with pytest.raises(OutputError, match="exists already"):
        add_vectors(request)
    add_vectors(dataclasses.replace(request, common=CPU))
    assert (tmp_path / "models" / "mine.txt").read_text() == "precious"
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="not a folder"):
        add_vectors(dataclasses.replace(request, out=tmp_path / "file", common=CPU))


def test_one_model_per_task_needs_tasks(tmp_path: Path) -> None:
    world = simple_world(tmp_path, 2)
    vectors = world.vectors()
    with pytest.raises(OptionError, match="different tasks"):
        world.add("tall", [vectors[0], vectors[0]], [1.0])


def test_negating_in_the_light_of_the_others(tmp_path: Path) -> None:
    """θ0 − α times what the method leaves of the vector; the other vectors only vote."""
    world = simple_world(tmp_path)
    vectors = world.vectors()
    change = [{k: t[k] - world.theta0[k] for k in t} for t in world.tuned]
    options = {"consensus_threshold": 2, "tall_lambda": 0.6}
    out = tmp_path / "n"
    request = NegateRequest(
        vectors[1], out, world.base, "consensus", options, (vectors[0], vectors[2]), 0.5, common=CPU
    )
    negate_vector(request)
    found = read_checkpoint(out)
    for name, before in world.theta0.items():
        taus = [each[name].double() for each in change]
        total = taus[0] + taus[1] + taus[2]
        votes = sum((tau.abs() > 0.6 * (total - tau).abs()).int() for tau in taus)
        part = torch.where(votes >= 2, taus[1], 0.0)
        torch.testing.assert_close(found.tensors[name], (before - 0.5 * part).float())
    assert [item["coef"] for item in found.header.config["inputs"]] == [-0.5]
    assert [item["coef"] for item in found.header.config["with"]] == [0.0, 0.0]
    with pytest.raises(OptionError, match="--with does not go with --method dare"):
        negate_vector(dataclasses.replace(request, method="dare", options={}))
    with pytest.raises(OptionError, match=r"needs as many vectors; there are 1"):
        negate_vector(dataclasses.replace(request, others=()))


def test_only_methods_that_draw_record_the_seed(tmp_path: Path) -> None:
    world = simple_world(tmp_path)
    vectors = tuple(world.vectors())
    for method, seeds in (("sum", 0), ("dare", 5)):
        contents = []
        for seed in (5, 5, 6):
            common = dataclasses.replace(CPU, seed=seed)
            out = tmp_path / "seeded"
            add_vectors(AddRequest(vectors, out, world.base, method, coefs=(1,), common=common))
            contents.append(out.read_bytes())
            if seed == 5:
                assert read_checkpoint(out).header.seed == seeds
        assert contents[0] == contents[1]
        assert (contents[0] == contents[2]) == (method == "sum")


def test_a_weight_of_zero_is_no_missing_weight(tmp_path: Path) -> None:
    world = simple_world(tmp_path, 2)
    first, second = world.vectors()
    found = world.add("sum", [first, second], [0.0, 0.5])
    alone = world.add("sum", [second], [0.5])
    assert hash_tensors(found) == hash_tensors(alone)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "tall"])
def test_numbers_that_are_none_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, value: float
) -> None:
    """In a plain file of differences, whose checksums nobody has made; before anything is done."""
    from safetensors.torch import save_file

    world = simple_world(tmp_path)
    plain = {name: torch.zeros(4, 5) for name in "ab"}
    plain["b"][2, 3] = value
    save_file(plain, tmp_path / "plain")
    monkeypatch.setattr(merging, "stream_model", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(CorruptFileError, match="plain: tensor 'b' holds NaN or Inf"):
        world.add(method, [world.vectors()[0], tmp_path / "plain"][::-1], [1.0])
    assert not (tmp_path / "merged").exists()


def test_a_base_that_records_its_origin_is_read_once(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    add_vectors(AddRequest((toy_files.vector("a"),), base, coefs=(0.0,), common=CPU))
    reads: list[str] = []
    get = TensorFile.get

    def counted(file: TensorFile, name: str) -> Tensor:
        if str(file.path) == str(base):
            reads.append(name)
        return get(file, name)

    monkeypatch.setattr(TensorFile, "get", counted)
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    request = AddRequest(vectors, tmp_path / "merged", str(base), coefs=(0.5,), common=CPU)
    add_vectors(request)
    assert sorted(reads) == sorted(read_checkpoint(tmp_path / "merged").tensors)
