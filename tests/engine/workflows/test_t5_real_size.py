"""The eight commands on a sharded T5 of t5-small's size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from talos_engine.models.loading import load_weights
from talos_engine.workflows.opening import Common, open_session

pytestmark = pytest.mark.slow
LIBRARY = """
import json, sys
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration
folder, data = sys.argv[1:]
torch.set_num_threads(1)
model = T5ForConditionalGeneration.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
found = []
with torch.no_grad():
    for line in open(data):
        row = json.loads(line)
        asked = tokenizer(row["text"], return_tensors="pt")
        scores = []
        for choice in row["choices"]:
            labels = tokenizer(choice, return_tensors="pt").input_ids
            log_p = model(**asked, labels=labels).logits.log_softmax(-1)
            scores.append(float(log_p.gather(2, labels[..., None]).sum()))
        found.append({"scores": scores, "label": row["label"]})
assert not any(name.startswith("talos") for name in sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 M random parameters in four files, with a tokenizer of bytes."""
    from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5-small")
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(decoder_start_token_id=0))
    assert sum(value.numel() for value in model.parameters()) > 60e6
    model.save_pretrained(folder, max_shard_size="70MB")
    ByT5Tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) == 4
    return folder


def check_against_the_library(folder: Path, data: Path, mean: float) -> None:
    """A folder's scores, predictions and accuracy are those of transformers without talos."""
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, folder, data / "test.jsonl"],
        capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    chosen = [each["scores"].index(max(each["scores"])) for each in theirs]
    right = sum(one == each["label"] for one, each in zip(chosen, theirs, strict=True))
    assert mean == pytest.approx(right / len(theirs), abs=1e-6)
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    session = open_session(load_weights(str(folder)), Common(device="cpu").runtime())
    inputs = session.backbone.encode_texts(
        [row["text"] for row in rows], [row["choices"] for row in rows]
    )
    with torch.no_grad():
        ours = session.backbone.classifier((), ())(inputs)
    assert ours.argmax(1).tolist() == chosen
    for scores, each in zip(ours.tolist(), theirs, strict=True):
        assert scores[: len(each["scores"])] == pytest.approx(each["scores"], rel=1e-4, abs=1e-3)


def test_the_eight_commands(
    small: Path, t5_toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_cli.main import app

    monkeypatch.chdir(tmp_path)
    colour, animal = (str(t5_toys.data(task)) for task in ("colour", "animal"))
    data = ["--data", f"colour={colour}", "--data", f"animal={animal}"]
    fast = ["--steps", "2", "--batch-size", "4", "--grad-accum", "1", "--early-stop", "0"]

    def talos(command: str, *words: str) -> str:
        named = [command, *words, "--model", str(small), "--quiet"]
        result = CliRunner().invoke(app, named)
        assert result.exit_code == 0, result.output
        return str(result.stdout.strip().splitlines()[-1])

    for task, place in (("colour", colour), ("animal", animal)):
        own = ["--task", task, "--data", place]
        scoring = ["--sparsity", "0.9", "--rounds", "2", "--batches", "1", "--batch-size", "4"]
        mask = talos("calibrate", *own, *scoring, "-o", f"{task}.mask")
        checkpoint = talos("finetune", *own, *fast, "--method", "talos", "--mask", mask)
        assert checkpoint == f"{task}.talos.ckpt"
        talos("vector", "--finetuned", checkpoint, "-o", f"{task}.vector")
    vectors = ["colour.vector", "animal.vector"]
    merged = talos("add", *vectors, "--coef", "0.5")
    edited = talos("negate", vectors[0], "--coef", "1")
    assert (merged, edited) == ("merged.ckpt", "edited.ckpt")
    mean = float(talos("evaluate", merged, "--task", "colour", *data[:2]))
    check_against_the_library(Path(merged), Path(colour), mean)
    assert talos("export", merged, "--to", "transformers", "-o", "exported") == "exported"
    check_against_the_library(Path("exported"), Path(colour), mean)
    talos("disentangle", *vectors, *data, "--grid", "2", "--points", "4", "-o", "xi.json")
    talos(
        "profile", "--task", "colour", "--data", colour, "--methods", "talos", "--iters", "1",
        "--batch-size", "4", "-o", "cost.json",
    )  # fmt: skip
    (cost,) = json.loads(Path("cost.json").read_text())["methods"]
    assert cost["live"] == pytest.approx(0.1 * 44e6, rel=0.01)
