"""Scores at the size of real models (random weights), and what batching may change in a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.data.splits import load_split
from talos_engine.masking.selection import keep_lowest
from talos_engine.models.open_clip_backbone import ImageClassifier
from talos_engine.models.rank_classifier import RankClassifier, TokenLogits, pack_examples
from talos_engine.models.structure import image_encoder_structure, t5_structure
from talos_engine.sensitivity.coverage import find_coverage
from talos_engine.sensitivity.fisher import ExampleBatch, FisherConfig, estimate_fisher_diag
from talos_engine.workflows.opening import Common, open_session


def looped_in_float64(
    classifier: nn.Module, names: tuple[str, ...], inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Squared gradients by a pass per example, the model turned to float64 and back."""
    classifier.double()
    own = {name: value for name, value in classifier.named_parameters() if name in names}
    for value in own.values():
        value.requires_grad_(True)
    totals = {name: torch.zeros_like(value) for name, value in own.items()}
    for row, label in enumerate(labels.tolist()):
        example = inputs[row : row + 1]
        example = example.double() if example.is_floating_point() else example
        log_p = torch.log_softmax(classifier(example), dim=-1)[0, label]
        gradients = torch.autograd.grad(log_p, list(own.values()))
        for name, gradient in zip(own, gradients, strict=True):
            totals[name] += gradient**2 / len(labels)
    totals = {name: total.detach() for name, total in totals.items()}
    classifier.requires_grad_(False).float()
    return totals


def check(classifier: nn.Module, names: tuple[str, ...], inputs: Tensor, labels: Tensor) -> None:
    expected = looped_in_float64(classifier, names, inputs, labels)
    own = dict(classifier.named_parameters())
    values = {name: own[name].detach() for name in names}
    assert find_coverage(classifier, values, names, inputs).covered == set(names)
    batch = ExampleBatch(torch.arange(len(labels)), inputs, labels)
    found = estimate_fisher_diag(classifier, values, [batch], FisherConfig("empirical"))
    for name in names:
        largest = float(expected[name].max())
        worst = float((found[name].double() - expected[name]).abs().max())
        assert worst <= 1e-4 * largest, name


@pytest.mark.slow
def test_a_vit_b_32_in_float32() -> None:
    import open_clip

    torch.manual_seed(0)
    visual = open_clip.create_model("ViT-B-32", pretrained=None).visual
    head = nn.functional.normalize(torch.randn(5, 512), dim=-1)
    classifier = ImageClassifier(visual, head, torch.tensor(20.0)).eval().requires_grad_(False)
    names = image_encoder_structure(visual).maskable
    assert len(names) > 140
    check(classifier, names, torch.randn(3, 3, 224, 224), torch.tensor([1, 4, 0]))


@pytest.mark.slow
def test_a_t5_of_small_size_in_float32() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(decoder_start_token_id=0)).eval()
    network = TokenLogits(model, 0, 0, 512**-0.5)
    classifier = RankClassifier(network, 0, 32128).eval().requires_grad_(False)
    questions = torch.randint(2, 32000, (3, 30)).tolist()
    questions[2] = questions[2][:20]
    tokens = pack_examples(questions, [[[2163, 1], [465, 7, 1], [59, 1]]] * 3, 0)
    check(classifier, t5_structure(model).maskable, tokens, torch.tensor([0, 2, 1]))


@pytest.mark.slow
def test_every_maskable_tensor_of_tiny_clip_in_float64() -> None:
    from talos_engine.models.loading import load_weights

    session = open_session(load_weights("tiny-clip"), Common(device="cpu").runtime())
    inputs, labels = session.prepare(load_split(EMBEDDED_TASKS.get("digits"), "train"))
    names = session.backbone.structure.maskable
    classifier = session.classifier("digits")
    # Not the first examples, on which the taps are tried.
    expected = looped_in_float64(classifier, names, inputs[5:11], labels[5:11])
    classifier.double()
    own = dict(classifier.named_parameters())
    values = {name: own[name].detach() for name in names}
    batch = ExampleBatch(torch.arange(6), inputs[5:11].double(), labels[5:11])
    coverage = find_coverage(classifier, values, names, inputs[:3].double())
    assert coverage.covered == set(names)
    config = FisherConfig("empirical")
    found = estimate_fisher_diag(classifier, values, [batch], config, coverage=coverage)
    for name in names:
        worst = float((found[name] - expected[name]).abs().max())
        assert worst <= 1e-6 * float(expected[name].max()), name


@pytest.mark.parametrize(
    ("model", "task", "count"),
    [("toy-clip", "toy-a", 60), pytest.param("tiny-clip", "digits", 96, marks=pytest.mark.slow)],
)
def test_batching_changes_a_mask_only_at_the_threshold(model: str, task: str, count: int) -> None:
    """Entries that differ have scores within 1e-5 relative of the threshold."""
    from talos_engine.models.loading import load_weights

    session = open_session(load_weights(model), Common(device="cpu").runtime())
    inputs, labels = session.prepare(load_split(EMBEDDED_TASKS.get(task), "train"))
    own = session.backbone.encoder_state()
    values = {name: own[name] for name in session.backbone.structure.maskable}
    candidates = session.backbone.structure.candidates()
    classifier = session.classifier(task)
    total = sum(flags.numel() for flags in candidates.values())

    def select(order: Tensor, batch: int, micro_batch: int) -> tuple[Any, Mapping[str, Tensor]]:
        batches = [ExampleBatch(ids, inputs[ids], labels[ids]) for ids in order.split(batch)]
        config = FisherConfig("mc", micro_batch=micro_batch)
        scores = estimate_fisher_diag(classifier, values, batches, config)
        return scores, keep_lowest(scores, candidates, total // 10)

    scores, mask = select(torch.arange(count), count, 64)
    flat = torch.cat([scores[name].flatten() for name in values])
    kept = torch.cat([mask[name].flatten() for name in values])
    threshold = float(flat[kept].max())
    for order, batch, micro_batch in (
        (torch.arange(count), count, 5),
        (torch.arange(count).flip(0), 32, 32),
        (torch.randperm(count, generator=torch.Generator().manual_seed(0)), 7, 64),
    ):
        _, other = select(order, batch, micro_batch)
        differs = kept != torch.cat([other[name].flatten() for name in values])
        assert int(differs.sum()) < total / 1000
        distance = (flat[differs].double() - threshold).abs() / threshold
        assert bool((distance <= 1e-5).all())
