"""Each command on a tiny T5 with texts from JSONL files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    Checkpoint,
    inspect_kind,
    read_checkpoint,
    read_checkpoint_header,
    read_mask,
)
from talos_engine.artifacts.checkpoint_folder import stream_checkpoint_folder
from talos_engine.artifacts.container import TensorSpec
from talos_engine.errors import MismatchError, OptionError, OutputError
from talos_engine.models.loading import load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
from talos_engine.workflows.disentangle import DisentangleRequest, disentangle
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.export import ExportRequest, export
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common
from talos_engine.workflows.profile import ProfileRequest, profile
from talos_engine.workflows.unfinished import Persistence
from talos_engine.workflows.vector import VectorRequest, make_vector

pytestmark = pytest.mark.usefixtures("text_data")
COMMON = Common(device="cpu")
SHORT = {"steps": 6, "batch_size": 8, "grad_accum": 1, "lr": 1e-2, "early_stop": 0}


def tuned(model: str, out: Path, method: str = "nonlinear", **more: Any) -> Path:
    request = FinetuneRequest(model, "colour", method, out, training=SHORT, common=COMMON, **more)
    return finetune(request).path


def masked(model: str, out: Path, **more: Any) -> Path:
    options = {"batches": 1, "rounds": 2, **more}
    request = CalibrateRequest(model, "colour", 0.9, out, options=options, common=COMMON)
    return calibrate(request).path


def library_accuracy(folder: Path, data: Path) -> float:
    """Of a checkpoint folder, with transformers alone."""
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    model = T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    right = []
    for line in (data / "test.jsonl").read_text().splitlines():
        row = json.loads(line)
        asked = tokenizer(row["text"], return_tensors="pt")
        scores = []
        for choice in row["choices"]:
            labels = tokenizer(choice, return_tensors="pt").input_ids
            with torch.no_grad():
                log_p = model(**asked, labels=labels).logits.log_softmax(-1)
            scores.append(float(log_p.gather(2, labels[..., None]).sum()))
        right.append(scores.index(max(scores)) == row["label"])
    return sum(right) / len(right)


@pytest.mark.parametrize("name", ["v10", "v11", "sharded"])
def test_a_checkpoint_is_a_folder_that_the_library_loads(
    t5_toys: Any, tmp_path: Path, name: str
) -> None:
    path = tuned(t5_toys.model(name), tmp_path / "c.ckpt")
    assert {each.name for each in path.iterdir()} >= {"config.json", "model.safetensors"}
    assert inspect_kind(path) == "checkpoint"
    result = evaluate(EvaluateRequest((path,), ("colour",), common=COMMON, model=str(path)))
    assert result.models[0].mean == library_accuracy(path, t5_toys.data("colour"))
    base, after = load_weights(t5_toys.model(name)).tensors, read_checkpoint(path).tensors
    assert not any(torch.equal(base[key], after[key]) for key in base), "everything trains"
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_a_vector_brings_the_checkpoint_back_bit_for_bit(t5_toys: Any, tmp_path: Path) -> None:
    model = t5_toys.model()
    mask = masked(model, tmp_path / "mask")
    path = tuned(model, tmp_path / "c.ckpt", "talos", mask=mask)
    vector = tmp_path / "v"
    found = make_vector(VectorRequest(path, vector, model, common=COMMON))
    assert 0 < found.changed <= 1 + found.total / 10
    add_vectors(AddRequest((vector,), tmp_path / "again.ckpt", model, coefs=(1.0,), common=COMMON))
    one, other = read_checkpoint(path).tensors, read_checkpoint(tmp_path / "again.ckpt").tensors
    assert set(one) == set(other)
    assert all(torch.equal(one[key], other[key]) for key in one)
    live = read_mask(mask).live
    base = load_weights(model).tensors
    for key, value in one.items():
        frozen = ~live[key] if key in live else torch.ones(value.shape, dtype=torch.bool)
        assert torch.equal(value[frozen], base[key][frozen]), key


def test_searches_and_maps(t5_toys: Any, tmp_path: Path) -> None:
    model = t5_toys.model()
    vectors = []
    for task in ("colour", "animal"):
        out = tmp_path / f"{task}.ckpt"
        finetune(FinetuneRequest(model, task, "nonlinear", out, training=SHORT, common=COMMON))
        vectors.append(tmp_path / f"{task}.vector")
        make_vector(VectorRequest(out, vectors[-1], model, common=COMMON))
    merged = add_vectors(
        AddRequest(tuple(vectors), tmp_path / "m.ckpt", model, search=True, common=COMMON)
    )
    assert merged.card == tmp_path / "m.md"
    assert merged.report == tmp_path / "m.search.json"
    folder = tmp_path / "tall"
    one_each = add_vectors(
        AddRequest(tuple(vectors), folder, model, method="tall", coefs=(1.0,), common=COMMON)
    )
    assert one_each.models is not None
    for each in one_each.models.values():
        assert read_checkpoint_header(each.path).method == "add:tall"
    negated = negate_vector(
        NegateRequest(
            vectors[0], tmp_path / "n.ckpt", model, search=True, control="animal", common=COMMON
        )
    )
    assert negated.search is not None
    paths = (merged.path, negated.path, vectors[0])
    found = evaluate(EvaluateRequest(paths, ("colour", "animal"), model=model, common=COMMON))
    for each in found.models[:2]:
        assert each.path is not None
        accuracy = library_accuracy(each.path, t5_toys.data("colour"))
        assert each.accuracies["colour"].value == accuracy
    error = disentangle(
        DisentangleRequest(tuple(vectors), tmp_path / "xi", model, grid=3, common=COMMON)
    ).map.error
    assert error[1][1] == 0, "at α1 = α2 = 0 nothing is edited"
    assert max(max(row) for row in error) > 0


@pytest.mark.parametrize("method", ["linearized", "l-lora", "lota"])
def test_the_other_methods(t5_toys: Any, tmp_path: Path, method: str) -> None:
    model, mask = t5_toys.model("v11"), None
    if method == "lota":
        mask = tmp_path / "mask"
        options = {"lota_steps": 2}
        calibrate(
            CalibrateRequest(model, "colour", 0.5, mask, "lota", options=options, common=COMMON)
        )
    options = {"rank": 4} if method == "l-lora" else {}
    path = tuned(model, tmp_path / "c.ckpt", method, mask=mask, options=options)
    found = evaluate(EvaluateRequest((path,), ("colour",), model=model, common=COMMON)).models[0]
    assert found.evaluation == ("linearized" if method == "linearized" else "plain")
    if method == "linearized":
        with pytest.raises(MismatchError, match="is no base itself"):
            load_weights(str(path))
        return
    assert found.mean == library_accuracy(path, t5_toys.data("colour"))
    base, after = load_weights(model).tensors, read_checkpoint(path).tensors
    changed = {key for key in base if not torch.equal(base[key], after[key])}
    if method == "l-lora":
        attention = {key for key in base if key.endswith(("Attention.q.weight", ".v.weight"))}
        assert changed == attention
        assert any("EncDecAttention.q" in key for key in changed)


def test_checkpointing_and_exact_fisher_make_the_same_mask(t5_toys: Any, tmp_path: Path) -> None:
    model = t5_toys.model()
    one = masked(model, tmp_path / "one", fisher="type-2")
    other = masked(model, tmp_path / "other", fisher="type-2", gradient_checkpointing=True)
    assert one.read_bytes() == other.read_bytes()


def test_a_run_goes_on_to_the_same_bytes(
    t5_toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_engine.training import loop

    model = t5_toys.model()
    whole = tuned(model, tmp_path / "whole.ckpt")
    kept = Persistence(checkpoint_every=2)
    real, calls = loop._take_step, []

    def fail_later(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("power cut")
        return real(*arguments)

    monkeypatch.setattr(loop, "_take_step", fail_later)
    with pytest.raises(RuntimeError, match="power cut"):
        tuned(model, tmp_path / "cut.ckpt", kept=kept)
    monkeypatch.undo()
    assert not (tmp_path / "cut.ckpt").exists()
    kept = Persistence(checkpoint_every=2, resume=True)
    request = FinetuneRequest(
        model,
        "colour",
        "nonlinear",
        tmp_path / "cut.ckpt",
        training=SHORT,
        common=COMMON,
        kept=kept,
    )
    assert finetune(request).first == 4
    for name in ("model.safetensors", "config.json", "tokenizer_config.json"):
        assert (tmp_path / "cut.ckpt" / name).read_bytes() == (whole / name).read_bytes()


def test_profile_measures_a_batch(t5_toys: Any, tmp_path: Path) -> None:
    request = ProfileRequest(
        t5_toys.model(), "colour", tmp_path / "cost", ("nonlinear",), 1, 8, common=COMMON
    )
    (cost,) = profile(request).costs
    assert cost.live == sum(
        value.numel() for value in load_weights(t5_toys.model()).tensors.values()
    )
    assert cost.batch_size == 8


def test_kinds_that_do_not_go_together_are_told_before_work(t5_toys: Any, tmp_path: Path) -> None:
    request = CalibrateRequest(t5_toys.model(), "toy-a", 0.9, tmp_path / "m")
    with pytest.raises(MismatchError, match=r"'toy-a' has images, the model .* takes texts"):
        calibrate(request)
    with pytest.raises(MismatchError, match="'colour' has texts, the model toy-clip takes images"):
        tuned("toy-clip", tmp_path / "c")
    with pytest.raises(MismatchError, match="takes images"):
        evaluate(EvaluateRequest((), ("colour",), model="toy-clip"))


def test_the_folder_of_the_base_must_be_named(t5_toys: Any, tmp_path: Path) -> None:
    path = tuned(t5_toys.model(), tmp_path / "c.ckpt")
    with pytest.raises(OptionError, match="weights that came from a folder"):
        make_vector(VectorRequest(path, tmp_path / "v", common=COMMON))


def test_what_is_there_is_kept(t5_toys: Any, tmp_path: Path) -> None:
    model, out = t5_toys.model(), tmp_path / "c.ckpt"
    tuned(model, out)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        tuned(model, out)
    assert (out / "model.safetensors").read_bytes() == before
    forced = Common(device="cpu", force=True)
    training = {**SHORT, "steps": 1}
    request = FinetuneRequest(model, "colour", "nonlinear", out, training=training, common=forced)
    finetune(request)
    assert (out / "model.safetensors").read_bytes() != before
    assert [each.name for each in tmp_path.iterdir()] == ["c.ckpt"], "the old one is gone"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds no checkpoint of talos"):
        finetune(
            FinetuneRequest(model, "colour", "nonlinear", mine, training=training, common=forced)
        )
    assert (mine / "thesis.txt").exists()


def test_an_exported_model_is_what_the_library_loads(t5_toys: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import T5ForConditionalGeneration

    model = t5_toys.model("sharded")
    checkpoint, vector = tuned(model, tmp_path / "c.ckpt"), tmp_path / "v"
    make_vector(VectorRequest(checkpoint, vector, common=COMMON, model=model))
    expected = library_accuracy(checkpoint, t5_toys.data("colour"))
    for name, path, base in (("a", checkpoint, None), ("b", vector, model)):
        done = export(ExportRequest("transformers", tmp_path / name, path, base))
        assert "T5ForConditionalGeneration" in done.loads
        assert library_accuracy(tmp_path / name, t5_toys.data("colour")) == expected
        stored = load_file(tmp_path / name / "model.safetensors")
        loaded = T5ForConditionalGeneration.from_pretrained(tmp_path / name)
        for key, value in read_checkpoint(checkpoint).tensors.items():
            assert torch.equal(value, stored[key]), "bit for bit"
            assert torch.equal(value, loaded.get_parameter(key))
    with pytest.raises(OptionError, match="cannot be exported to open_clip"):
        export(ExportRequest("open_clip", tmp_path / "d", checkpoint))


def test_dropout_of_the_configuration_is_off_and_kept(t5_toys: Any, tmp_path: Path) -> None:
    stored = []
    for rate in (0.0, 0.9):
        model = Path(shutil.copytree(t5_toys.model(), tmp_path / f"{rate}"))
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "dropout_rate": rate}))
        path = tuned(str(model), tmp_path / f"{rate}.ckpt")
        assert json.loads((path / "config.json").read_text())["dropout_rate"] == rate
        stored.append(read_checkpoint(path).tensors)
    assert all(torch.equal(stored[0][key], stored[1][key]) for key in stored[0])


def sharded(checkpoint: Checkpoint, out: Path, package: Any, **more: Any) -> None:
    specs = {
        key: TensorSpec(value.dtype, tuple(value.shape))
        for key, value in checkpoint.tensors.items()
    }
    stream_checkpoint_folder(
        out, checkpoint.header, specs, checkpoint.tensors.__getitem__, package, **more
    )


def test_large_checkpoints_are_sharded(t5_toys: Any, tmp_path: Path) -> None:
    from talos_engine.models.t5_models import write_companions

    whole = tuned(t5_toys.model(), tmp_path / "whole.ckpt")
    checkpoint, out = read_checkpoint(whole), tmp_path / "shards.ckpt"
    sharded(checkpoint, out, lambda folder: write_companions(whole, folder), shard_bytes=40_000)
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert not (out / "model.safetensors").exists()
    again = read_checkpoint(out)
    assert again.header == checkpoint.header
    assert all(torch.equal(again.tensors[key], value) for key, value in checkpoint.tensors.items())
    colour = t5_toys.data("colour")
    assert library_accuracy(out, colour) == library_accuracy(whole, colour)


def test_merged_shards_load_in_the_library(t5_toys: Any, tmp_path: Path) -> None:
    model, colour = t5_toys.model(), t5_toys.data("colour")
    whole = tuned(model, tmp_path / "c.ckpt")
    vector = make_vector(VectorRequest(whole, tmp_path / "v", model=model, common=COMMON)).path
    request = AddRequest(
        (vector,), tmp_path / "m.ckpt", model, coefs=(1.0,), shard_bytes=40_000, common=COMMON
    )
    shards = add_vectors(request).path
    assert len(list(shards.glob("model-*.safetensors"))) > 1
    assert library_accuracy(shards, colour) == library_accuracy(whole, colour)
    again = read_checkpoint(shards).tensors
    assert all(
        torch.equal(again[key], value) for key, value in read_checkpoint(whole).tensors.items()
    )


def test_a_writer_that_fails_leaves_the_old_folder(t5_toys: Any, tmp_path: Path) -> None:
    whole = tuned(t5_toys.model(), tmp_path / "c.ckpt")
    checkpoint = read_checkpoint(whole)
    before = {each.name: each.read_bytes() for each in whole.iterdir()}

    def break_down(folder: Path) -> None:
        (folder / "config.json").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        sharded(checkpoint, whole, break_down, force=True)
    assert {each.name: each.read_bytes() for each in whole.iterdir()} == before
    assert [each.name for each in tmp_path.iterdir()] == ["c.ckpt"]


def test_a_writer_killed_between_two_renames_is_repaired_by_the_next(
    t5_toys: Any, tmp_path: Path
) -> None:
    whole = tuned(t5_toys.model(), tmp_path / "c.ckpt")
    checkpoint = read_checkpoint(whole)
    before = (whole / "model.safetensors").read_bytes()
    whole.rename(tmp_path / ".c.ckpt.01234567.old-talos")
    (tmp_path / ".c.ckpt.89abcdef.tmp-talos").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        sharded(checkpoint, whole, lambda folder: None)
    assert (whole / "model.safetensors").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["c.ckpt"]
