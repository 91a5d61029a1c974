"""The files of ``tiny-t5``: transformers alone loads them, and they are as their record says."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, T5ForConditionalGeneration

from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS, TextExamples
from talos_engine.models.catalog.tiny_t5 import FOLDER
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.models.t5_architecture import MAX_TOKENS
from talos_engine.workflows.opening import Common, open_session

WEIGHTS = FOLDER / "model.safetensors"
RECIPE = Path(__file__).parents[3] / "recipes" / "pretrain_tiny_t5"
TASKS = [name for name in EMBEDDED_TASKS.names() if EMBEDDED_TASKS.get(name).kind == TEXTS]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((FOLDER / "pretraining.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def model() -> Any:
    return T5ForConditionalGeneration.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def recipe() -> Any:
    """Import a script of the recipe."""
    modules = ("mixture", "zero_shot", "pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPE))
        for name in modules:
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module
        for name in modules:
            sys.modules.pop(name, None)


def test_weights_are_small_and_the_recorded_ones(record: dict[str, Any]) -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) == record["bytes"] <= 4_000_000
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    stored = load_file(WEIGHTS)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert sum(value.numel() for value in stored.values()) == record["parameters"]
    assert not {"lm_head.weight", "encoder.embed_tokens.weight"} & stored.keys(), "tied, once"


def test_the_library_loads_float32_with_the_stored_values(model: Any) -> None:
    stored = load_file(WEIGHTS)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == stored.keys()
    for name, value in parameters.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, stored[name].float()), name
        assert torch.isfinite(value).all(), name


def test_the_model_is_the_recorded_one(model: Any, record: dict[str, Any]) -> None:
    config = model.config
    assert config.num_layers == record["encoder_layers"]
    assert config.num_decoder_layers == record["decoder_layers"]
    assert (config.vocab_size, config.d_model, config.dropout_rate) == (256 + 3, 128, 0.0)
    assert model.lm_head.weight is model.shared.weight


def test_talos_reads_the_same_model() -> None:
    weights = load_weights("tiny-t5")
    assert (weights.info.name, weights.info.pretrained) == ("tiny-t5", "embedded")
    stored = load_file(WEIGHTS)
    assert weights.tensors.keys() == stored.keys()
    for name, value in weights.tensors.items():
        assert torch.equal(value, stored[name].float()), name


def test_tokens_are_bytes() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    for text in ("ann fed tom.", "é + ß ="):
        assert tokenizer(text)["input_ids"] == [byte + 3 for byte in text.encode()] + [1]


@pytest.mark.parametrize("name", TASKS)
def test_no_text_is_cut(name: str) -> None:
    task = EMBEDDED_TASKS.get(name)
    for split in ("train", "test"):
        examples = task.load(split)
        assert isinstance(examples, TextExamples)
        answers = {choice for choices in examples.choices for choice in choices}
        assert max(len(text.encode()) for text in {*examples.texts, *answers}) < MAX_TOKENS


@pytest.mark.parametrize("name", TASKS)
def test_predictions_are_those_of_the_library(name: str, model: Any, recipe: Any) -> None:
    examples = EMBEDDED_TASKS.get(name).load("test")
    assert isinstance(examples, TextExamples)
    few = TextExamples(examples.texts[:100], examples.choices[:100], examples.labels[:100])
    theirs = recipe("zero_shot").answers(model, few)
    session = open_session(load_weights("tiny-t5"), Common(device="cpu").runtime())
    inputs = session.backbone.encode_texts(few.texts, few.choices)
    with torch.inference_mode():
        logits = session.backbone.classifier((), ())(inputs)
    assert torch.equal(logits.argmax(1), theirs)


def test_a_recorded_accuracy_is_measured_again(
    model: Any, record: dict[str, Any], recipe: Any
) -> None:
    """All of one task's test split; two answers may flip with another order of additions."""
    assert list(record["zero_shot"]) == TASKS
    name = max(record["zero_shot"], key=lambda each: abs(record["zero_shot"][each] - 0.5))
    examples = EMBEDDED_TASKS.get(name).load("test")
    found = recipe("zero_shot").accuracy(model, examples)
    assert found == pytest.approx(record["zero_shot"][name], abs=2.5 / len(examples.labels))


def test_the_card_has_the_recorded_numbers(record: dict[str, Any], recipe: Any) -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    assert recipe("pack").fill(card, record) == card


def test_a_backbone_keeps_its_files_for_checkpoints() -> None:
    weights = load_weights("tiny-t5")
    assert weights.folder == FOLDER
    assert build_backbone(weights).encode_texts(["a"], [("b", "cd")]).shape == (1, 3, 3)
