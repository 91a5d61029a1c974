"""T5 models against transformers itself, one example and one answer at a time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from talos_engine.errors import MismatchError
from talos_engine.evaluation.drift import measure_drift
from talos_engine.models.loading import build_backbone, load_weights, open_skeleton
from talos_engine.models.rank_classifier import pack_examples
from talos_engine.models.spec import TEXTS
from talos_engine.models.t5_architecture import MAX_TOKENS
from talos_engine.sensitivity.fisher import ExampleBatch, FisherConfig, estimate_fisher_diag
from talos_engine.training.loop import _cross_entropy
from talos_engine.workflows.opening import Common

TEXT = ("hello world", "a much longer text, about something else", "x", "y" * 300)
CHOICES = (
    ("yes", "no"),
    ("maybe", "never ever", "no"),
    ("one", "two", "three", "four"),
    ("a", "b"),
)


def library_scores(folder: str, *, per_token: bool = False) -> Tensor:
    """A loop over examples and answers with the library alone, −∞ where there is no answer."""
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    model = T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = torch.full((len(TEXT), max(map(len, CHOICES))), -torch.inf)
    for row, (text, choices) in enumerate(zip(TEXT, CHOICES, strict=True)):
        asked = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        for column, choice in enumerate(choices):
            labels = tokenizer(choice, return_tensors="pt").input_ids
            with torch.no_grad():
                log_p = model(**asked, labels=labels).logits.log_softmax(-1)
            told = log_p.gather(2, labels[..., None])
            scores[row, column] = told.mean() if per_token else told.sum()
    return scores


@pytest.mark.parametrize("name", ["v10", "v11", "sharded"])
@pytest.mark.parametrize("per_token", [False, True])
def test_scores_are_those_of_the_library(t5_toys: Any, name: str, per_token: bool) -> None:
    folder = t5_toys.model(name)
    backbone = build_backbone(load_weights(folder))
    classifier = backbone.classifier((), (), length_normalized=per_token)
    inputs = backbone.encode_texts(TEXT, CHOICES)
    expected = library_scores(folder, per_token=per_token)
    with_gradients = classifier(inputs)
    with torch.no_grad():
        without = classifier(inputs)
    for found in (with_gradients, without):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert float(expected[expected > -torch.inf].std()) > 0.1, "else anything would agree"


def test_the_order_and_company_of_examples_changes_nothing(
    t5_toys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_engine.models import rank_classifier

    backbone = build_backbone(load_weights(t5_toys.model()))
    classifier = backbone.classifier((), ())
    inputs = backbone.encode_texts(TEXT, CHOICES)
    with torch.no_grad():
        together = classifier(inputs)
        monkeypatch.setattr(rank_classifier, "_TOKENS_AT_ONCE", 1)
        alone = classifier(inputs)
        backwards = classifier(inputs.flip(0)).flip(0)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(backwards, together, rtol=1e-5, atol=1e-4)


def test_packing_by_hand() -> None:
    packed = pack_examples([[5, 6], [7]], [[[1], [2, 3, 4]], [[8], [9], [1]]], 0)
    assert packed.tolist() == [
        [[5, 6, 0], [1, 0, 0], [2, 3, 4], [0, 0, 0]],
        [[7, 0, 0], [8, 0, 0], [9, 0, 0], [1, 0, 0]],
    ]


@pytest.mark.parametrize(("name", "tied"), [("v10", True), ("v11", False)])
def test_tied_embeddings_are_one_parameter(t5_toys: Any, name: str, tied: bool) -> None:
    weights = load_weights(t5_toys.model(name))
    backbone = build_backbone(weights)
    assert ("lm_head.weight" in weights.tensors) != tied
    assert not any("embed_tokens" in key for key in weights.tensors)
    assert set(weights.tensors) == set(backbone.structure.trainable)
    own = {key for key, _ in backbone.classifier((), ()).named_parameters()}
    assert own == set(weights.tensors), "classifiers have the names of the files"
    assert backbone.kind == TEXTS
    skeleton = open_skeleton(t5_toys.model(name))
    assert skeleton.structure == backbone.structure
    assert skeleton.total_entries == sum(value.numel() for value in weights.tensors.values())
    assert skeleton.saved_bytes(2, skeleton.structure.maskable) > 0


def test_linearized_logits_are_exact_at_the_base_and_in_first_order(t5_toys: Any) -> None:
    """With GELU: the kinks of ReLU leave no second order."""
    backbone = build_backbone(load_weights(t5_toys.model("v11")))
    classifier = backbone.classifier((), ())
    linear = backbone.linearize(classifier)
    inputs = backbone.encode_texts(TEXT[:2], CHOICES[:2])
    network, expanded = classifier._network[0], linear._network[0]
    theta0 = {name: value.clone() for name, value in backbone.encoder_state().items()}
    torch.manual_seed(0)
    step = {name: torch.randn_like(value) for name, value in theta0.items()}
    with torch.no_grad():
        base = network(inputs)
        torch.testing.assert_close(expanded(inputs), base, rtol=1e-5, atol=1e-4)
        errors, slopes = [], []
        for size in (1e-3, 2e-3):
            backbone.set_weights({name: theta0[name] + size * step[name] for name in theta0})
            slopes.append((expanded(inputs) - base) / size)
            errors.append(float((network(inputs) - expanded(inputs)).norm()))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-2, atol=1e-1)
    assert 3 < errors[1] / errors[0] < 5, "what is left is of second order"
    assert classifier(inputs).shape == linear(inputs).shape


@pytest.mark.parametrize("fisher", ["mc", "type-2", "empirical"])
def test_missing_answers_leave_scores_finite(t5_toys: Any, fisher: str) -> None:
    """And those of an example do not depend on the answers that others have."""
    backbone = build_backbone(load_weights(t5_toys.model()))
    classifier = backbone.classifier((), ())
    values = {name: backbone.encoder_state()[name] for name in backbone.structure.maskable}

    def scores(texts: Any, choices: Any, labels: list[int]) -> dict[str, Tensor]:
        inputs = backbone.encode_texts(texts, choices)
        batch = ExampleBatch(torch.arange(len(labels)), inputs, torch.tensor(labels))
        return estimate_fisher_diag(classifier, values, [batch], FisherConfig(fisher))

    mixed = scores(TEXT[:3], CHOICES[:3], [1, 2, 3])
    parts = [scores(TEXT[:1], CHOICES[:1], [1])]
    for name, found in mixed.items():
        assert bool(torch.isfinite(found).all()), name
    padded = backbone.encode_texts(TEXT[:1], CHOICES[:1])
    wider = torch.cat([padded, torch.zeros_like(padded[:, :2])], dim=1)  # two answers that are none
    batch = ExampleBatch(torch.arange(1), wider, torch.tensor([1]))
    again = estimate_fisher_diag(classifier, values, [batch], FisherConfig(fisher))
    for name, found in parts[0].items():
        torch.testing.assert_close(again[name], found, rtol=1e-3, atol=1e-7)


def test_smoothing_spreads_over_the_answers_there_are() -> None:
    logits = torch.tensor([[1.0, 2.0, -torch.inf], [0.5, 0.0, 1.0]], requires_grad=True)
    found = _cross_entropy(logits, torch.tensor([1, 2]), 0.3)
    expected = 0.0
    for row, label in (([1.0, 2.0], 1), ([0.5, 0.0, 1.0], 2)):
        log_p = [value - math.log(sum(map(math.exp, row))) for value in row]
        expected -= (0.7 * log_p[label] + 0.3 * sum(log_p) / len(row)) / 2
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    found.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_drift_is_zero_at_the_base(t5_toys: Any) -> None:
    backbone = build_backbone(load_weights(t5_toys.model()))
    classifier = backbone.classifier((), ())
    inputs = backbone.encode_texts(TEXT[:2], CHOICES[:2])
    theta0 = {name: value.clone() for name, value in backbone.encoder_state().items()}
    runtime = Common(device="cpu").runtime()
    labels = torch.tensor([0, 2])
    found = measure_drift(classifier, theta0, inputs, labels, runtime)
    assert found.squared == 0
    classifier.requires_grad_(True)
    squared = 0.0
    for row in range(2):
        log_p = classifier(inputs[row : row + 1]).log_softmax(-1)[0, labels[row]]
        gradients = torch.autograd.grad(log_p, list(classifier.parameters()))
        squared += sum(float(each.square().sum()) for each in gradients) / 2
    assert found.reference == pytest.approx(squared, rel=1e-3)


def test_weights_of_another_shape_are_refused(t5_toys: Any) -> None:
    weights = load_weights(t5_toys.model())
    less = {name: value for name, value in weights.tensors.items() if name != "shared.weight"}
    with pytest.raises(MismatchError, match=r"shared\.weight"):
        build_backbone(dataclasses.replace(weights, tensors=less))


def test_texts_that_are_cut_are_counted(t5_toys: Any) -> None:
    backbone = build_backbone(load_weights(t5_toys.model()))
    counts: list[int] = []
    texts = ("y" * (MAX_TOKENS - 1), "y" * MAX_TOKENS, "short", "z" * 300)  # one byte, one token
    choices = (("a", "b"), ("a", "b"), ("a", "b" * 200), ("a", "b" * 200))
    backbone.encode_texts(texts, choices, counts.append)
    backbone.encode_texts(texts[:1], choices[:1], counts.append)
    assert counts == [3, 0]


def test_answers_that_are_equal_once_cut_are_refused(t5_toys: Any) -> None:
    backbone = build_backbone(load_weights(t5_toys.model()))
    long = "b" * (MAX_TOKENS - 1)
    assert backbone.encode_texts(["q"], [(long, long[1:])]).shape == (1, 3, MAX_TOKENS)
    with pytest.raises(MismatchError, match=r"to 'q' have the same first 128 tokens"):
        backbone.encode_texts(["p", "q"], [("a", "b"), (long + "c", long + "d")])
