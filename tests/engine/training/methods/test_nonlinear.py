"""``nonlinear``: the whole encoder trains, and takes no mask."""

from __future__ import annotations

import pytest
import torch

from talos_engine.artifacts import BaseInfo, Header, Mask
from talos_engine.errors import OptionError
from talos_engine.training.methods.nonlinear import NonlinearConfig, train_everything
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.opening import Session


def test_every_parameter_of_the_encoder_trains_wholly(toy_session: Session) -> None:
    trains = train_everything(NonlinearConfig(), toy_session.backbone.structure, None)
    assert set(trains) == set(toy_session.backbone.encoder_state())
    assert {"visual.proj", "visual.class_embedding", "visual.positional_embedding"} <= set(trains)
    assert all(flags is None for flags in trains.values())


def test_a_mask_is_refused(toy_session: Session) -> None:
    header = Header(
        "mask", BaseInfo("toy-clip", "random", {}, "0" * 64), "talos", "", {"sparsity": 0}, 0, ""
    )
    mask = Mask(header, {"x": torch.ones(1, dtype=torch.bool)}, {"x": (1,)})
    with pytest.raises(OptionError, match="--mask does not go with --method nonlinear"):
        train_everything(NonlinearConfig(), toy_session.backbone.structure, mask)


def test_it_wants_no_mask_rule() -> None:
    assert FINETUNE_METHODS.get("nonlinear").mask_rule == ""
