"""Linearized models on the command line: told in tables and JSON, refused where they mix."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_from_training_to_evaluation(talos: Callable[..., Any], toy_files: Any) -> None:
    made = talos(
        "finetune", "--model", "toy-clip", "--task", "toy-b", "--method", "linearized",
        "-o", "c.safetensors",
    )  # fmt: skip
    assert made.code == 0, made.err
    done = talos("evaluate", "c.safetensors", "--task", "toy-b", "--json")
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)["results"]
    assert result["evaluation"] == "linearized"
    assert "c.safetensors (linearized)" in done.err
    assert talos("vector", "--finetuned", "c.safetensors", "-o", "v.safetensors").code == 0
    mixed = talos("add", "v.safetensors", toy_files.vector("a"), "--coef", "1")
    assert mixed.code == 1
    assert "no model is both" in mixed.plain_err
    base = talos("evaluate", "--model", "c.safetensors", "--task", "toy-a")
    assert base.code == 1
    assert "is no base itself" in base.plain_err


def test_post_hoc_linearization(talos: Callable[..., Any], toy_files: Any) -> None:
    words = ("evaluate", toy_files.checkpoint("a", "nonlinear"), "--task", "toy-a", "--json")
    plain, linear = talos(*words), talos(*words, "--linearize")
    assert linear.code == 0, linear.err
    kinds = [json.loads(done.out)["results"][0]["evaluation"] for done in (plain, linear)]
    assert kinds == ["plain", "linearized"]
    assert "(linearized)" in linear.err
    assert "(linearized)" not in plain.err
