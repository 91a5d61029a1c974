"""What of a CLIP image encoder is trainable, maskable, and of which kind."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn

from talos_engine.errors import OptionError
from talos_engine.models.structure import KINDS, EncoderStructure, image_encoder_structure
from talos_engine.workflows.opening import Session

WIDTH, LAYERS, PATCH = 16, 2, 16


@pytest.fixture
def structure(toy_session: Session) -> EncoderStructure:
    return toy_session.backbone.structure


def test_every_parameter_of_the_encoder_is_trainable(
    toy_session: Session, structure: EncoderStructure
) -> None:
    visual = toy_session.backbone.model.visual
    assert structure.trainable == tuple(f"visual.{name}" for name, _ in visual.named_parameters())
    for name, shape in structure.shapes.items():
        assert tuple(toy_session.weights.tensors[name].shape) == shape


def test_only_embeddings_and_the_final_projection_are_not_maskable(
    structure: EncoderStructure,
) -> None:
    """Linear, attention, LayerNorm and Conv weights and biases are (App. A.2)."""
    assert set(structure.trainable) - set(structure.maskable) == {
        "visual.class_embedding",
        "visual.positional_embedding",
        "visual.proj",
    }
    ordered = [name for name in structure.trainable if name in structure.maskable]
    assert list(structure.maskable) == ordered, "module order is the order of ranking"


def entries_of(structure: EncoderStructure, kind: str, *, bias: bool) -> int:
    return sum(
        (group.stop - group.start) * math.prod(structure.shapes[group.name][1:])
        for group in structure.groups
        if group.kind == kind and group.is_bias == bias
    )


def test_counts_of_each_kind_by_hand(structure: EncoderStructure) -> None:
    square, wide = WIDTH * WIDTH, 4 * WIDTH
    for kind in ("q", "k", "v", "o"):
        assert entries_of(structure, kind, bias=False) == LAYERS * square
        assert entries_of(structure, kind, bias=True) == LAYERS * WIDTH
    assert entries_of(structure, "mlp_in", bias=False) == LAYERS * WIDTH * wide
    assert entries_of(structure, "mlp_in", bias=True) == LAYERS * wide
    assert entries_of(structure, "mlp_out", bias=False) == LAYERS * WIDTH * wide
    assert entries_of(structure, "mlp_out", bias=True) == LAYERS * WIDTH
    assert entries_of(structure, "ln", bias=False) == (2 * LAYERS + 2) * WIDTH
    assert entries_of(structure, "ln", bias=True) == (2 * LAYERS + 2) * WIDTH
    assert entries_of(structure, "conv", bias=False) == WIDTH * 3 * PATCH * PATCH
    assert entries_of(structure, "conv", bias=True) == 0
    assert entries_of(structure, "linear", bias=False) == 0


def test_groups_cover_every_maskable_entry_exactly_once(structure: EncoderStructure) -> None:
    covered = {name: torch.zeros(structure.shapes[name]) for name in structure.maskable}
    for group in structure.groups:
        assert group.kind in KINDS
        covered[group.name][group.start : group.stop] += 1
    for name, counts in covered.items():
        assert bool((counts == 1).all()), name


def test_layers_are_told_from_names(structure: EncoderStructure) -> None:
    for group in structure.groups:
        found = re.search(r"resblocks\.(\d+)\.", group.name)
        assert group.layer == (int(found.group(1)) if found else -1)
    assert {group.layer for group in structure.groups} == {-1, 0, 1}


def test_key_biases_and_nothing_else_are_shift_invariant(structure: EncoderStructure) -> None:
    found = {
        (group.name, group.start, group.stop) for group in structure.groups if group.shift_invariant
    }
    assert found == {
        (f"visual.transformer.resblocks.{layer}.attn.in_proj_bias", WIDTH, 2 * WIDTH)
        for layer in range(LAYERS)
    }


def test_key_biases_change_no_feature(toy_session: Session) -> None:
    visual = toy_session.backbone.model.visual.double()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    bias = visual.transformer.resblocks[0].attn.in_proj_bias
    with torch.no_grad():
        before = visual(images)
        bias[WIDTH : 2 * WIDTH] += 5.0
        torch.testing.assert_close(visual(images), before, rtol=1e-10, atol=1e-12)
        bias[:WIDTH] += 5.0
        assert float((visual(images) - before).abs().max()) > 1e-3, "query biases do"


def test_candidates_without_patterns_are_everything_maskable(structure: EncoderStructure) -> None:
    flags = structure.candidates()
    assert tuple(flags) == structure.maskable
    for name, value in flags.items():
        assert value.dtype is torch.bool
        assert tuple(value.shape) == structure.shapes[name]
        assert bool(value.all())


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*in_proj_bias#k", LAYERS * WIDTH),
        ("*#k", LAYERS * (WIDTH + WIDTH * WIDTH)),
        ("*in_proj_weight", LAYERS * 3 * WIDTH * WIDTH),
        ("visual.conv1.weight", WIDTH * 3 * PATCH * PATCH),
        ("*resblocks.1.*", 12 * WIDTH * WIDTH + 13 * WIDTH),
        ("*#ln", 2 * (2 * LAYERS + 2) * WIDTH),
        ("*.ln_pos[st].bias", WIDTH),
    ],
)
def test_exclude_patterns_by_hand(structure: EncoderStructure, pattern: str, expected: int) -> None:
    everything = sum(flags.numel() for flags in structure.candidates().values())
    left = sum(int(flags.sum()) for flags in structure.candidates([pattern]).values())
    assert everything - left == expected


def test_patterns_add_up_and_touch_the_right_rows(structure: EncoderStructure) -> None:
    flags = structure.candidates(["*in_proj_bias#k", "*#q", "*#q"])
    bias = flags["visual.transformer.resblocks.0.attn.in_proj_bias"]
    assert bias.tolist() == [False] * 32 + [True] * 16
    weight = flags["visual.transformer.resblocks.0.attn.in_proj_weight"]
    assert weight.any(dim=1).tolist() == [False] * 16 + [True] * 32


@pytest.mark.parametrize(
    "pattern", ["nothing*", "visual.proj", "*#K", "token_embedding.weight", ""]
)
def test_a_pattern_that_matches_nothing_maskable_is_a_usage_error(
    structure: EncoderStructure, pattern: str
) -> None:
    with pytest.raises(OptionError, match="matches no maskable parameter"):
        structure.candidates([pattern])


def test_excluding_everything_is_a_usage_error(structure: EncoderStructure) -> None:
    with pytest.raises(OptionError, match="leaves nothing"):
        structure.candidates(["*"])


def test_other_modules_are_classified_too() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 3, bias=False)
            self.norm = nn.BatchNorm2d(2)
            self.table = nn.Embedding(4, 2)

    structure = image_encoder_structure(Odd(), "tower.")
    assert [(g.name, g.kind, g.stop) for g in structure.groups] == [
        ("tower.head.weight", "linear", 3)
    ]
    assert "tower.table.weight" in structure.trainable


def test_the_attention_pooling_of_a_resnet_has_its_kinds_and_a_dead_key_bias() -> None:
    import open_clip

    config = open_clip.get_model_config("RN50")
    config["vision_cfg"] |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    torch.manual_seed(0)
    visual = open_clip.CLIP(**config).visual.eval()
    pool = {
        group.name.removeprefix("visual.attnpool."): group
        for group in image_encoder_structure(visual).groups
        if "attnpool" in group.name
    }
    kinds = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "c_proj": "o"}
    assert {name.split(".")[0]: group.kind for name, group in pool.items()} == kinds
    assert [name for name, group in pool.items() if group.shift_invariant] == ["k_proj.bias"]
    images = torch.randn(2, 3, 32, 32)
    before = visual(images)
    with torch.no_grad():
        visual.attnpool.k_proj.bias += 3
    torch.testing.assert_close(visual(images), before, rtol=1e-4, atol=1e-5)
