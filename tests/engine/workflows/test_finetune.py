"""``finetune`` over files: frozen bits, the same bytes again, checkpoints for open_clip alone."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import Mask, read_checkpoint, read_mask, write_mask
from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import (
    ArtifactError,
    MismatchError,
    OptionError,
    OutputError,
    TrainingError,
    UnknownNameError,
    WrongKindError,
)
from talos_engine.models.loading import load_weights
from talos_engine.workflows import finetune as module
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.opening import Common, Session
from talos_engine.workflows.planning import plan_finetune
from talos_engine.workflows.unfinished import Persistence

CPU = Common(device="cpu")


def request_of(out: Path, **changes: Any) -> FinetuneRequest:
    request = FinetuneRequest("toy-clip", "toy-a", "nonlinear", out, common=CPU)
    return dataclasses.replace(request, **changes)


def test_frozen_entries_are_bit_identical_and_live_ones_moved(toy_files: Any) -> None:
    theta0 = load_weights("toy-clip").tensors
    mask = read_mask(toy_files.mask("a"))
    tensors = read_checkpoint(toy_files.checkpoint("a")).tensors
    assert tensors.keys() == theta0.keys()
    moved = 0
    for name, before in theta0.items():
        after = tensors[name]
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        if not before.ndim:
            assert torch.equal(after, before)
            continue
        differs = after.view(torch.int32) != before.view(torch.int32)
        live = mask.live.get(name, torch.zeros(before.shape, dtype=torch.bool))
        assert not bool((differs & ~live).any()), name
        moved += int((differs & live).sum())
    # Key biases are live and get no gradient but noise; all else moves.
    assert moved >= mask.live_count - 32


def test_nonlinear_moves_the_whole_encoder_and_nothing_else(toy_files: Any) -> None:
    theta0 = load_weights("toy-clip").tensors
    tensors = read_checkpoint(toy_files.checkpoint("a", "nonlinear")).tensors
    for name, before in theta0.items():
        assert torch.equal(tensors[name], before) != name.startswith("visual."), name


@pytest.mark.parametrize("method", ["talos", "nonlinear"])
def test_the_same_request_gives_the_same_bytes(toy_files: Any, tmp_path: Path, method: str) -> None:
    mask = toy_files.mask("a") if method == "talos" else None
    finetune(request_of(tmp_path / "again", method=method, mask=mask))
    assert (tmp_path / "again").read_bytes() == toy_files.checkpoint("a", method).read_bytes()
    other = dataclasses.replace(CPU, seed=1)
    finetune(request_of(tmp_path / "other", method=method, mask=mask, common=other))
    ours, theirs = (
        read_checkpoint(path).tensors["visual.conv1.weight"]
        for path in (tmp_path / "again", tmp_path / "other")
    )
    assert not torch.equal(ours, theirs)


def test_without_sparsity_talos_is_nonlinear_fine_tuning_of_the_maskable_tensors(
    tmp_path: Path, toy_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """k = 0 (Fig. 8): the same steps as a dense run in which only those tensors train."""
    mask, sparse, dense = (tmp_path / name for name in ("mask", "sparse", "dense"))
    calibrate(CalibrateRequest("toy-clip", "toy-a", 0.0, mask, method="random", common=CPU))
    training = {"steps": 20, "weight_decay": 0.1}
    finetune(request_of(sparse, method="talos", mask=mask, training=training))
    maskable = set(toy_session.backbone.structure.maskable)
    entry = module.FINETUNE_METHODS.get("nonlinear")
    only = dataclasses.replace(
        entry,
        run=lambda config, structure, _: {n: None for n in structure.trainable if n in maskable},
    )
    monkeypatch.setitem(module.FINETUNE_METHODS._entries, "nonlinear", only)
    finetune(request_of(dense, training=training))
    ours, theirs = read_checkpoint(sparse).tensors, read_checkpoint(dense).tensors
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)
    assert torch.equal(ours["visual.proj"], load_weights("toy-clip").tensors["visual.proj"])


def test_defaults_are_the_models_and_options_win(tmp_path: Path) -> None:
    result = finetune(request_of(tmp_path / "c", training={"steps": 3, "lr": None, "clip": 0.0}))
    assert (result.config.steps, result.config.lr, result.config.clip) == (3, 3e-3, 0.0)
    assert len(result.records) == 3
    assert result.trained == 19_200
    header = read_checkpoint(tmp_path / "c").header
    assert header.config["steps"] == 3
    assert header.config["lr"] == 3e-3
    assert header.config["mask"] is None
    assert (header.method, header.task, header.seed) == ("nonlinear", "toy-a", 0)
    assert header.base == load_weights("toy-clip").info
    assert header.data == load_split(find_task("toy-a"), "train").fingerprint


def test_the_mask_is_recorded(toy_files: Any) -> None:
    mask = read_checkpoint(toy_files.checkpoint("a")).header.config["mask"]
    assert mask["method"] == "talos"
    assert mask["task"] == "toy-a"
    assert mask["sparsity"] == 0.75
    assert len(mask["hash"]) == 64


def test_training_helps(tmp_path: Path) -> None:
    result = finetune(request_of(tmp_path / "c", training={"steps": 60}))
    first, last = (
        sum(r.loss for r in part) / 5 for part in (result.records[:5], result.records[-5:])
    )
    assert last < 0.5 * first


def test_a_checkpoint_is_a_base_of_its_own(toy_files: Any, tmp_path: Path) -> None:
    start = toy_files.checkpoint("a", "nonlinear")
    finetune(request_of(tmp_path / "c", model=str(start), task="toy-b", training={"steps": 2}))
    header = read_checkpoint(tmp_path / "c").header
    assert header.base.hash == load_weights(str(start)).info.hash
    assert header.base.hash != load_weights("toy-clip").info.hash


OPEN_CLIP_ALONE = """
import json, sys
import numpy as np, open_clip, torch
config, name, tokenizer, checkpoint, images, prompts = sys.argv[1:]
open_clip.add_model_config(config)
model = open_clip.create_model(name, pretrained=checkpoint).eval()
tokenizer = open_clip.get_tokenizer("local-dir:" + tokenizer)
with torch.no_grad():
    heads = []
    for group in json.loads(prompts):
        text = model.encode_text(tokenizer(group), normalize=True).mean(dim=0)
        heads.append(text / text.norm())
    features = model.encode_image(torch.from_numpy(np.load(images)), normalize=True)
    print((features @ torch.stack(heads).T).argmax(dim=1).tolist())
assert not any(name.startswith("talos") for name in sys.modules)
"""


def test_open_clip_alone_loads_a_checkpoint_and_predicts_the_same(
    toy_files: Any, toy_folder: Path, tmp_path: Path
) -> None:
    """In a process without any code of ours, by name and ``pretrained=FILE``."""
    import numpy as np

    from talos_engine.evaluation.accuracy import predict
    from talos_engine.models.loading import build_backbone

    path = toy_files.checkpoint("a")
    spec = EMBEDDED_TASKS.get("toy-a")
    backbone = build_backbone(load_weights(str(path)))
    session = Session(backbone.weights, backbone, CPU.runtime())
    task = session.evaluation_task("toy-a", "test")
    np.save(tmp_path / "images.npy", task.inputs.numpy())
    config = tmp_path / "toy-by-name.json"
    whole = json.loads((toy_folder / "open_clip_config.json").read_text())
    config.write_text(json.dumps(whole["model_cfg"]))
    prompts = [[t.format(name) for t in spec.templates] for name in spec.class_names]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_CLIP_ALONE, str(config), "toy-by-name", str(toy_folder),
         str(path), str(tmp_path / "images.npy"), json.dumps(prompts)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predictions = predict(task, session.runtime).tolist()
    assert json.loads(done.stdout) == predictions
    assert len(set(predictions)) > 1


def test_a_broken_down_run_writes_nothing(tmp_path: Path) -> None:
    training = {"lr": 1e30, "steps": 5, "warmup": 0}
    with pytest.raises(TrainingError, match="at step 2"):
        finetune(request_of(tmp_path / "c", training=training))
    assert list(tmp_path.iterdir()) == []


def test_an_update_to_infinity_in_the_last_step_writes_nothing(tmp_path: Path) -> None:
    """No later loss tells of it: the writer refuses."""
    with pytest.raises((TrainingError, OutputError)):
        finetune(request_of(tmp_path / "c", training={"lr": 1e38, "steps": 1, "warmup": 0}))
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_model_is_refused(tmp_path: Path) -> None:
    mask = tmp_path / "mask"
    calibrate(CalibrateRequest("toy-other", "toy-a", 0.5, mask, method="random", common=CPU))
    hashes = [load_weights(name).info.hash[:12] for name in ("toy-clip", "toy-other")]
    with pytest.raises(MismatchError) as caught:
        finetune(request_of(tmp_path / "c", method="talos", mask=mask))
    assert all(text in caught.value.message for text in hashes), "both hashes are printed"
    assert str(mask) in caught.value.message
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "talos"}, OptionError, "needs --mask"),
        ({"method": "magic"}, UnknownNameError, "magic"),
        ({"model": "tiny-clop"}, UnknownNameError, "tiny-clop"),
        ({"task": "toys"}, UnknownNameError, "toys"),
        ({"training": {"lr": 0.0}}, OptionError, "--lr"),
        ({"training": {"steps": -1}}, OptionError, "--steps"),
        ({"training": {"schedule": "linear"}}, OptionError, "--schedule"),
        ({"mask": Path("nowhere")}, ArtifactError, "nowhere"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        finetune(request_of(tmp_path / "c", **change))
    assert list(tmp_path.iterdir()) == []


OVERWRITING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "out is the mask": ({"out": "m"}, {}),
    "log is the mask": ({}, {"log": "m"}),
    "out is the model": ({"model": "base", "out": "base"}, {}),
    "log is the model": ({"model": "base"}, {"log": "base"}),
    "state is the model": ({"model": "c.resume.safetensors"}, {}),
    "state is the mask": ({"mask": "c.resume.safetensors"}, {}),
    "log is the output": ({}, {"log": "other/../c"}),
    "log is the state": ({}, {"log": "other/../c.resume.safetensors"}),
    "log is in the output": ({"out": "other"}, {"log": "other/log"}),
    "mask is in the output": ({"out": "other", "mask": "other/m"}, {}),
}


@pytest.mark.parametrize("written", ["absolute", "relative"])
@pytest.mark.parametrize("name", OVERWRITING)
def test_nothing_the_run_needs_is_overwritten(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    """With --force too, and however the output is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for place in ("m", "other/m"):
        (tmp_path / place).write_bytes(toy_files.mask("a").read_bytes())
    (tmp_path / "base").write_bytes(toy_files.checkpoint("a").read_bytes())
    special = "mask" if name.endswith("the mask") else "checkpoint"
    content = getattr(toy_files, special)("a").read_bytes()
    (tmp_path / "c.resume.safetensors").write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    change, kept = OVERWRITING[name]
    given = {"out": "c", "mask": "m", **change}
    out = Path(given.pop("out"))
    given["mask"] = tmp_path / given["mask"]
    request = request_of(
        tmp_path / out if written == "absolute" else out,
        method="talos",
        common=dataclasses.replace(CPU, force=True),
        kept=Persistence(**{key: tmp_path / value for key, value in kept.items()}),
        **given,
    )
    with pytest.raises(OptionError):
        finetune(request)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("tag", ["", "openai=", "file="])
def test_a_file_of_weights_is_not_overwritten(tmp_path: Path, tag: str) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_text("precious")
    common = dataclasses.replace(CPU, force=True, pretrained=f"{tag}{weights}")
    with pytest.raises(OptionError, match="is read"):
        finetune(request_of(weights, model="ViT-B-32", common=common))
    assert weights.read_text() == "precious"


@pytest.mark.parametrize("plans", [False, True])
@pytest.mark.parametrize(
    ("method", "mask", "options", "error", "words"),
    [
        ("talos", "", {}, OptionError, "needs --mask"),
        ("lota", "", {}, OptionError, "needs --mask"),
        ("lota", "a", {}, OptionError, "this one is of talos"),
        ("nonlinear", "a", {}, OptionError, "--mask does not go"),
        ("l-lora", "a", {}, OptionError, "--mask does not go"),
        ("l-lora", "", {"rank": 10_000}, OptionError, "--rank must be at most"),
        ("talos", "odd", {}, MismatchError, "odd was made for another base, toy-clip .* 'other'"),
    ],
)
def test_what_does_not_go_with_the_method_is_refused_before_weights_are_read(
    toy_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    mask: str,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    plans: bool,
) -> None:
    path = toy_files.mask("a") if mask else None
    if path is not None and mask == "odd":
        found, path = read_mask(path), tmp_path / "odd"
        live = {"other": torch.ones(2, 2, dtype=torch.bool)}
        write_mask(path, Mask(found.header, live, {"other": (2, 2)}), force=False)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(module, "load_weights", lambda *_: pytest.fail("read for nothing"))
    request = request_of(tmp_path / "c", method=method, mask=path, options=options)
    with pytest.raises(error, match=words):
        (plan_finetune if plans else finetune)(request)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_no_mask_is_refused(toy_files: Any, tmp_path: Path) -> None:
    for path in (toy_files.vector("a"), toy_files.checkpoint("a")):
        with pytest.raises(WrongKindError, match="a mask was expected"):
            finetune(request_of(tmp_path / "c", method="talos", mask=path))
    cut = tmp_path / "cut"
    cut.write_bytes(toy_files.mask("a").read_bytes()[:-7])
    with pytest.raises(ArtifactError, match="cut"):
        finetune(request_of(tmp_path / "c", method="talos", mask=cut))
    assert not (tmp_path / "c").exists()


def test_an_existing_checkpoint_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").write_text("precious")
    monkeypatch.setattr(module, "train", lambda job: pytest.fail("trained for nothing"))
    with pytest.raises(OutputError, match="exists already"):
        finetune(request_of(tmp_path / "c"))
    with pytest.raises(OutputError, match="no folder"):
        finetune(request_of(tmp_path / "missing" / "c"))
    assert (tmp_path / "c").read_text() == "precious"


def test_a_disk_without_room_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(module, "train", lambda job: pytest.fail("trained for nothing"))
    with pytest.raises(OutputError, match=r"needs 0\.1 MB and its disk has 0\.0 MB free"):
        finetune(request_of(tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []
