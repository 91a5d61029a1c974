"""``talos``: exactly the mask's entries train."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from talos_engine.artifacts import BaseInfo, Header, Mask
from talos_engine.errors import MismatchError, OptionError
from talos_engine.training.methods.talos import TalosConfig, train_live_entries
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.opening import Session

HEADER = Header(
    "mask", BaseInfo("toy-clip", "random", {}, "0" * 64), "talos", "toy-a", {"sparsity": 0.5}, 0, ""
)
BIAS = "visual.ln_pre.bias"


def mask_of(**live: torch.Tensor) -> Mask:
    flags = {name.replace("__", "."): value for name, value in live.items()}
    return Mask(HEADER, flags, {name: tuple(value.shape) for name, value in flags.items()})


def test_live_entries_are_passed_on_and_nothing_else(toy_session: Session) -> None:
    flags = torch.arange(16) % 3 == 0
    trains = train_live_entries(
        TalosConfig(), toy_session.backbone.structure, mask_of(visual__ln_pre__bias=flags)
    )
    assert set(trains) == {BIAS}
    assert trains[BIAS] is flags


def test_it_needs_a_mask_with_something_alive(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    with pytest.raises(OptionError, match="needs --mask") as caught:
        train_live_entries(TalosConfig(), structure, None)
    assert "talos calibrate" in caught.value.hint
    with pytest.raises(OptionError, match="no live entry"):
        train_live_entries(TalosConfig(), structure, mask_of())


def test_embeddings_unknown_names_and_other_shapes_are_refused(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    ones = torch.ones(16, dtype=torch.bool)
    for mask in (
        mask_of(visual__class_embedding=ones),
        mask_of(token_embedding__weight=ones),
        mask_of(visual__ln_pre__bias=ones[:8]),
        mask_of(visual__ln_pre__bias=ones, nothing=ones),
    ):
        with pytest.raises(MismatchError, match="not maskable in this model"):
            train_live_entries(TalosConfig(), structure, mask)


def test_it_declares_its_mask_rule_and_paper() -> None:
    entry = FINETUNE_METHODS.get("talos")
    assert entry.mask_rule == "talos"
    assert "2504.02620" in entry.paper
    assert entry.configure({}) == TalosConfig()
    assert dataclasses.fields(TalosConfig) == ()
