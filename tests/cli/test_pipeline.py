"""The pipelines that users write, from start to end, on the real model; few steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import hash_tensors, inspect_kind, read_checkpoint, read_mask
from talos_engine.masking.selection import live_count
from talos_engine.models.loading import load_weights

pytestmark = pytest.mark.slow

# The pipeline at the end of spec/cli.md with fewer batches, steps and coefficients.
SCRIPT = """
set -euo pipefail
for t in digits mnist shapes; do
  mask=$(talos calibrate --model tiny-clip --task $t --sparsity 0.9 --config few.toml -o $t.mask.safetensors)
  ckpt=$(talos finetune --model tiny-clip --task $t --method talos --mask $mask --config few.toml -o $t.ckpt.safetensors)
  talos vector --model tiny-clip --finetuned $ckpt -o $t.vector.safetensors
done
talos add *.vector.safetensors --model tiny-clip --search --task digits --task mnist --task shapes --config few.toml -o merged.safetensors
talos evaluate merged.safetensors --model tiny-clip --task digits --task mnist --task shapes --json > metrics.json
"""
SETTINGS = """
[calibrate]
batches = 1
batch-size = 8
rounds = 2
[finetune]
steps = 4
batch-size = 16
[add]
grid = "plain"
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the pipeline ran."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "few.toml").write_text(SETTINGS)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "talos").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m talos_cli "$@"\n')
    (bin_folder / "talos").chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", SCRIPT], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "digits.vector.safetensors", "mnist.vector.safetensors", "shapes.vector.safetensors",
        "merged.safetensors",
    ]  # fmt: skip
    assert "Traceback" not in done.stderr
    return folder


def test_every_file_is_what_it_should_be(pipeline: Path) -> None:
    names = {path.name for path in pipeline.iterdir()} - {"bin", "few.toml"}
    expected = {
        f"{task}.{kind}.safetensors": {"ckpt": "checkpoint"}.get(kind, kind)
        for task in ("digits", "mnist", "shapes")
        for kind in ("mask", "ckpt", "vector")
    }
    expected |= {"merged.safetensors": "checkpoint", "merged.search.json": "metrics"}
    assert names == expected.keys() | {"metrics.json", "merged.md"}
    assert {name: inspect_kind(pipeline / name) for name in expected} == expected


def test_the_live_count_is_exact_and_frozen_entries_keep_their_bits(pipeline: Path) -> None:
    theta0 = load_weights("tiny-clip").tensors
    for task in ("digits", "mnist", "shapes"):
        mask = read_mask(pipeline / f"{task}.mask.safetensors")
        assert mask.live_count == live_count(mask.total, 0.9)
        tuned = read_checkpoint(pipeline / f"{task}.ckpt.safetensors").tensors
        assert tuned.keys() == theta0.keys()
        for name, before in theta0.items():
            frozen = ~mask.live.get(name, torch.zeros(before.shape, dtype=torch.bool))
            kept, start = tuned[name][frozen], before[frozen]
            assert torch.equal(kept.view(torch.int32), start.view(torch.int32)), name
        assert hash_tensors(tuned) != hash_tensors(theta0)


def test_adding_one_vector_restores_the_checkpoint_bit_for_bit(
    pipeline: Path, talos: Callable[..., Any]
) -> None:
    done = talos("add", pipeline / "mnist.vector.safetensors", "--coef", 1, "-o", "back")
    assert done.code == 0, done.err
    tuned = read_checkpoint(pipeline / "mnist.ckpt.safetensors").tensors
    assert hash_tensors(read_checkpoint(Path("back")).tensors) == hash_tensors(tuned)


def test_the_metrics_are_those_of_the_merged_model(
    pipeline: Path, talos: Callable[..., Any]
) -> None:
    metrics = json.loads((pipeline / "metrics.json").read_text())
    assert set(metrics["tasks"]) == {"digits", "mnist", "shapes"}
    assert metrics["mean"] == pytest.approx(
        sum(task["correct"] / task["n"] for task in metrics["tasks"].values()) / 3
    )
    done = talos(
        "evaluate", "--model", pipeline / "merged.safetensors", "--task", "shapes", "--json"
    )
    again = json.loads(done.out)["tasks"]["shapes"]
    assert again == metrics["tasks"]["shapes"], "as base or as candidate"


OPEN_CLIP_ALONE = """
import json, sys
import numpy as np, open_clip, torch
config, checkpoint, images, prompts = sys.argv[1:]
open_clip.add_model_config(config + "/tiny-clip.json")
model = open_clip.create_model("tiny-clip", pretrained=checkpoint).eval()
tokenizer = open_clip.get_tokenizer("local-dir:" + config)
with torch.no_grad():
    heads = []
    for group in json.loads(prompts):
        text = model.encode_text(tokenizer(group), normalize=True).mean(dim=0)
        heads.append(text / text.norm())
    features = model.encode_image(torch.from_numpy(np.load(images)), normalize=True)
    print((features @ torch.stack(heads).T).argmax(dim=1).tolist())
assert not any(name.startswith("talos") for name in sys.modules)
"""


def test_open_clip_alone_loads_the_merged_checkpoint(pipeline: Path, tmp_path: Path) -> None:
    import numpy as np

    from talos_engine.data.splits import find_task
    from talos_engine.evaluation.accuracy import predict
    from talos_engine.models.catalog.tiny_clip import FOLDER
    from talos_engine.models.loading import build_backbone
    from talos_engine.workflows.opening import Common, Session

    merged = pipeline / "merged.safetensors"
    backbone = build_backbone(load_weights(str(merged)))
    session = Session(backbone.weights, backbone, Common(device="cpu").runtime())
    task = session.evaluation_task("shapes", "test", 64)
    spec = find_task("shapes")
    np.save(tmp_path / "images.npy", task.inputs.numpy())
    prompts = [[t.format(name) for t in spec.templates] for name in spec.class_names]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_CLIP_ALONE, str(FOLDER), str(merged),
         str(tmp_path / "images.npy"), json.dumps(prompts)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == predict(task, session.runtime).tolist()


def test_the_shortest_call_works(talos: Callable[..., Any], tmp_path: Path) -> None:
    """``talos calibrate --model tiny-clip --task digits --sparsity 0.9``, with all defaults but
    the number of rounds and batches."""
    done = talos(
        "calibrate", "--model", "tiny-clip", "--task", "digits", "--sparsity", "0.9",
        "--rounds", 1, "--batches", 1, "--batch-size", 4,
    )  # fmt: skip
    assert (done.code, done.out) == (0, "digits.mask.safetensors\n")
    mask = read_mask(tmp_path / "digits.mask.safetensors")
    assert mask.live_count == live_count(mask.total, 0.9)
    assert "live entries are key biases" in done.plain_err
