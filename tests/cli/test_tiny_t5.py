"""The README's story on texts: five embedded tasks and the control, all commands, one small T5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

TASKS = ("facts", "odd", "reading", "stories", "sums")
FEW = ("--max-examples", 24)
STEPS = ("--steps", 2, "--batch-size", 8, "--grad-accum", 1, "--early-stop", 0)


@pytest.mark.parametrize("name", ["toy", pytest.param("tiny-t5", marks=pytest.mark.slow)])
def test_the_pipeline_on_text_tasks(
    talos: Callable[..., Any], t5_toys: Any, tmp_path: Path, name: str
) -> None:
    model = ("--model", t5_toys.model() if name == "toy" else name)

    def run(*words: object) -> Any:
        done = talos(*words, *model, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    vectors = []
    for task in TASKS:
        own, scoring = ("--task", task, *FEW), ("--batches", 1, "--batch-size", 8, "--rounds", 2)
        mask = run("calibrate", *own, "--sparsity", 0.9, *scoring, "-o", f"{task}.mask")
        assert mask["live"] == pytest.approx(0.1 * mask["total"], abs=1)
        talosly = ("--method", "talos", "--mask", f"{task}.mask", "--lr", 0.01)
        run("finetune", *own, *talosly, *STEPS, "-o", f"{task}.ckpt")
        run("vector", "--finetuned", f"{task}.ckpt", "-o", f"{task}.vector")
        vectors.append(f"{task}.vector")
    named = [word for task in TASKS for word in ("--task", task)]
    added = run("add", *vectors, "--search", *named, *FEW, "-o", "merged.ckpt")
    assert added["coef"] >= 0
    run("negate", "sums.vector", "--search", "--control", "entailment", *FEW, "-o", "forgot.ckpt")
    found = run("evaluate", "merged.ckpt", "forgot.ckpt", *named, "--task", "entailment", *FEW)
    assert all(set(each["tasks"]) == {*TASKS, "entailment"} for each in found["results"])
    run("disentangle", *vectors[:2], "--grid", 2, "--points", 8, *FEW, "-o", "xi.json")
    assert len(json.loads((tmp_path / "xi.json").read_text())["error"]) == 2
    run("profile", *own, "--methods", "nonlinear", "--iters", 1, "--batch-size", 8, "-o", "c.json")

    from transformers import AutoTokenizer, T5ForConditionalGeneration

    theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "merged.ckpt")
    stored = load_file(tmp_path / "merged.ckpt" / "model.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in theirs.named_parameters())
    assert AutoTokenizer.from_pretrained(tmp_path / "merged.ckpt")("a")["input_ids"] == [100, 1]
