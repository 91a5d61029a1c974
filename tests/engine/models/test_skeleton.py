"""A model's shape without its weights: the same as the model's, and an honest memory estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.models.loading import open_skeleton
from talos_engine.models.skeleton import specs_of
from talos_engine.workflows.opening import Session


def test_it_has_the_models_structure_and_no_data(toy_session: Session) -> None:
    skeleton = open_skeleton("toy-clip")
    assert skeleton.structure == toy_session.backbone.structure
    assert skeleton.specs == specs_of(toy_session.weights.tensors)
    assert skeleton.total_entries == sum(v.numel() for v in toy_session.weights.tensors.values())
    state = toy_session.backbone.encoder_state()
    assert skeleton.encoder_entries == sum(value.numel() for value in state.values())
    assert skeleton.input_shape == (3, 32, 32)
    assert all(parameter.is_meta for parameter in skeleton.encoder.parameters())


def test_counters_are_counted_in_their_own_dtype(small_vit: Path) -> None:
    weights = small_vit / "resnet.safetensors"
    skeleton, state = open_skeleton("Small-RN", str(weights)), load_file(weights)
    assert skeleton.specs == specs_of(state)
    assert skeleton.total_bytes == sum(value.nbytes for value in state.values())
    assert skeleton.total_bytes > 4 * skeleton.total_entries


def measured_bytes(
    session: Session,
    batch: int,
    trains: set[str],
    encoder: nn.Module | None = None,
    constants: Sequence[Tensor] = (),
) -> int:
    """What autograd really saves, each storage once, parameters and constants apart."""
    visual = encoder or session.backbone.model.visual  # type: ignore[attr-defined]
    own = {value.untyped_storage().data_ptr() for value in constants}
    for name, parameter in session.backbone.encoder_state().items():
        parameter.requires_grad_(name in trains)
        own.add(parameter.untyped_storage().data_ptr())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = torch.zeros(batch, 3, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = visual(inputs)
    total = sum(kept.values())
    del output
    return total


@pytest.mark.parametrize("batch", [2, 16])
@pytest.mark.parametrize("which", ["all", "last layer"])
def test_the_estimate_is_near_what_autograd_really_keeps(
    toy_session: Session, batch: int, which: str
) -> None:
    skeleton = open_skeleton("toy-clip")
    names = set(skeleton.structure.trainable)
    if which == "last layer":
        names = {name for name in names if "resblocks.1.mlp" in name}
    real = measured_bytes(toy_session, batch, names)
    assert 0.5 * real < skeleton.saved_bytes(batch, names) < 2 * real


def test_fewer_trained_layers_keep_less() -> None:
    skeleton = open_skeleton("toy-clip")
    names = set(skeleton.structure.trainable)
    late = {name for name in names if "resblocks.1." in name}
    sizes = [skeleton.saved_bytes(8, trains) for trains in (names, late, set())]
    assert sizes[0] > sizes[1] > sizes[2] == 0
    assert skeleton.saved_bytes(16, names) == pytest.approx(2 * sizes[0], rel=0.05)


def test_the_linearized_encoder_keeps_more(toy_session: Session) -> None:
    skeleton = open_skeleton("toy-clip")
    names = set(skeleton.structure.trainable)
    backbone = toy_session.backbone
    visual = backbone.model.visual  # type: ignore[attr-defined]
    theta0 = {name: value.detach().clone() for name, value in visual.named_parameters()}
    linear = LinearizedEncoder(visual, theta0)
    real = measured_bytes(toy_session, 16, names, linear, list(theta0.values()))
    counted = skeleton.saved_bytes(16, names, linearized=True)
    assert 0.8 * real < counted < 1.25 * real
    assert counted > 1.3 * skeleton.saved_bytes(16, names)
