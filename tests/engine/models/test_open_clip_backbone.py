"""The CLIP backbone against open_clip itself: weights, head, preprocessing, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from talos_engine.data.spec import EMBEDDED_TASKS, IMAGES
from talos_engine.errors import MismatchError
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.models.open_clip_backbone import OpenClipBackbone
from talos_engine.workflows.opening import Session

NAMES = ("red", "green", "blue")
TEMPLATES = ("a {}", "the {} picture")


def test_it_holds_exactly_the_given_weights(toy_session: Session) -> None:
    state = toy_session.backbone.model.state_dict()
    assert state.keys() == toy_session.weights.tensors.keys()
    for name, value in state.items():
        assert torch.equal(value, toy_session.weights.tensors[name]), name
    assert not any(value.requires_grad for value in toy_session.backbone.model.parameters())


def test_the_head_equals_a_plain_loop_over_prompts(toy_session: Session, toy_folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{toy_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{toy_folder}")
    rows = []
    with torch.no_grad():
        for name in NAMES:
            embeddings = []
            for template in TEMPLATES:
                text = model.encode_text(tokenizer([template.format(name)]))[0]
                embeddings.append(text / text.norm())
            mean = torch.stack(embeddings).mean(dim=0)
            rows.append(mean / mean.norm())
    classifier = toy_session.backbone.classifier(NAMES, TEMPLATES)
    torch.testing.assert_close(classifier.head, torch.stack(rows), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3), "classes are told apart"
    assert classifier.scale.item() == pytest.approx(model.logit_scale.exp().item())


def test_logits_equal_open_clips_own(toy_session: Session, toy_folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{toy_folder}").eval()
    classifier = toy_session.backbone.classifier(NAMES, TEMPLATES)
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        features = model.encode_image(images, normalize=True)
        expected = model.logit_scale.exp() * features @ classifier.head.T
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-4)


def test_all_classifiers_share_the_encoder_and_keep_their_head(toy_session: Session) -> None:
    backbone = toy_session.backbone
    first, second = (backbone.classifier(names, TEMPLATES) for names in (NAMES, NAMES[:2]))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before, head = first(images), first.head.clone()
        backbone.set_weights({"visual.proj": torch.randn(16, 12)})
        assert not torch.allclose(first(images), before)
        assert torch.equal(first.head, head)
        assert second(images).shape == (2, 2)
    assert first.visual is second.visual is backbone.model.visual


def test_set_weights_leaves_what_is_not_named(toy_session: Session) -> None:
    backbone = toy_session.backbone
    before = {name: value.clone() for name, value in backbone.encoder_state().items()}
    new = torch.arange(16.0)
    backbone.set_weights({"visual.ln_pre.bias": new})
    for name, value in backbone.encoder_state().items():
        assert torch.equal(value, new if name == "visual.ln_pre.bias" else before[name])
    assert torch.equal(
        toy_session.weights.tensors["visual.ln_pre.bias"], before["visual.ln_pre.bias"]
    )


def test_preparation_equals_open_clips_transform(toy_session: Session, toy_folder: Path) -> None:
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{toy_folder}")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected = torch.stack([transform(Image.fromarray(image)) for image in images])
    found = toy_session.backbone.prepare(images)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_images_of_another_size_are_resized(toy_session: Session) -> None:
    constant = np.full((2, 48, 20, 3), 102, dtype=np.uint8)
    found = toy_session.backbone.prepare(constant)
    assert found.shape == (2, 3, 32, 32)
    expected = (0.4 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.3, 0.4])
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "dtype"])
def test_weights_of_another_architecture_are_refused(damage: str) -> None:
    weights = load_weights("toy-clip")
    tensors = dict(weights.tensors)
    name = "visual.ln_pre.bias"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "visual.unknown"
        tensors[name] = torch.zeros(1)
    elif damage == "shape":
        tensors[name] = torch.zeros(8)
    else:
        tensors[name] = torch.zeros(16, dtype=torch.float64)
    with pytest.raises(MismatchError, match=name):
        build_backbone(dataclasses.replace(weights, tensors=tensors))


def test_prompts_of_every_embedded_task_have_one_place_for_the_name() -> None:
    for name in EMBEDDED_TASKS.names():
        spec = EMBEDDED_TASKS.get(name)
        if spec.kind != IMAGES:
            continue
        assert spec.templates
        for template in spec.templates:
            assert template.count("{}") == 1
            assert template.format("x") != template


def test_the_backbone_is_what_the_factory_gives() -> None:
    backbone = build_backbone(load_weights("toy-clip"))
    assert isinstance(backbone, OpenClipBackbone)
    assert not backbone.model.training
