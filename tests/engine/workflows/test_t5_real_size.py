"""The eight commands on a sharded T5 of t5-small's size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

pytestmark = pytest.mark.slow


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
    few = ["--max-examples", "8"]
    mean = talos("evaluate", merged, "--task", "colour", *data[:2], *few)
    assert 0 <= float(mean) <= 1
    talos("disentangle", *vectors, *data, "--grid", "2", "--points", "4", "-o", "xi.json")
    talos(
        "profile", "--task", "colour", "--data", colour, "--methods", "talos", "--iters", "1",
        "--batch-size", "4", "-o", "cost.json",
    )  # fmt: skip
    (cost,) = json.loads(Path("cost.json").read_text())["methods"]
    assert cost["live"] == pytest.approx(0.1 * 44e6, rel=0.01)
