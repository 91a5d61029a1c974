"""``lota``: the sparse loop under a mask of its own rule, and of no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import Mask, read_checkpoint, read_mask, write_mask
from talos_engine.errors import MismatchError, OptionError
from talos_engine.training.methods.lota import LotaConfig, train_live_entries
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu")


@pytest.fixture
def lota_mask(toy_files: Any, tmp_path: Path) -> Path:
    """A mask that says it was made by rule ``lota``."""
    mask = read_mask(toy_files.mask("a"))
    path = tmp_path / "lota.mask.safetensors"
    write_mask(path, Mask(dataclasses.replace(mask.header, method="lota"), mask.live, mask.shapes))
    return path


def test_live_entries_train_as_with_talos(toy_files: Any, lota_mask: Path, tmp_path: Path) -> None:
    request = FinetuneRequest("toy-clip", "toy-a", "lota", tmp_path / "c", lota_mask, common=CPU)
    finetune(request)
    ours = read_checkpoint(tmp_path / "c")
    theirs = read_checkpoint(toy_files.checkpoint("a", "talos"))
    for name, value in theirs.tensors.items():
        assert torch.equal(ours.tensors[name], value), name
    assert ours.header.method == "lota"
    assert ours.header.config["mask"]["method"] == "lota"


def test_with_the_mask_that_calibrate_makes(tmp_path: Path) -> None:
    mask, out = tmp_path / "mask", tmp_path / "c"
    calibrate(
        CalibrateRequest(
            "toy-clip", "toy-a", 0.75, mask, method="lota", options={"lota_steps": 2}, common=CPU
        )
    )
    result = finetune(FinetuneRequest("toy-clip", "toy-a", "lota", out, mask, common=CPU))
    assert result.trained == read_mask(mask).live_count
    assert read_checkpoint(out).header.config["mask"]["sparsity"] == 0.75


def test_it_needs_a_mask_of_its_own_rule(toy_files: Any, toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    with pytest.raises(OptionError, match="--method lota needs --mask") as caught:
        train_live_entries(LotaConfig(), structure, None)
    assert "--method lota" in caught.value.hint
    with pytest.raises(OptionError, match="this one is of talos") as caught:
        train_live_entries(LotaConfig(), structure, read_mask(toy_files.mask("a")))
    assert "--method talos" in caught.value.hint


def test_a_mask_that_does_not_fit_is_refused(lota_mask: Path, toy_session: Session) -> None:
    mask = read_mask(lota_mask)
    wrong = {"visual.proj": torch.ones(16, 12, dtype=torch.bool)}
    with pytest.raises(MismatchError, match="not maskable"):
        train_live_entries(
            LotaConfig(), toy_session.backbone.structure, Mask(mask.header, wrong, mask.shapes)
        )


def test_it_wants_the_rule_of_its_name() -> None:
    entry = FINETUNE_METHODS.get("lota")
    assert entry.mask_rule == "lota"
    assert "2406.16797" in entry.paper
