"""The same pictures, embedded or from a folder, give the same bits in every workflow."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from talos_engine.artifacts import read_checkpoint, read_mask
from talos_engine.data.settings import DataSettings, use_data
from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.evaluation.accuracy import predict
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu")


@pytest.fixture
def copy_of_toy_a(tmp_path: Path) -> DataSettings:
    """The toy task's own images, saved without loss."""
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    parts = {}
    for split in ("train", "test"):
        raw = EMBEDDED_TASKS.get("toy-a").load(split)
        assert isinstance(raw.images, np.ndarray)
        images = [Image.fromarray(image) for image in raw.images]
        rows = {"image": images, "label": raw.labels.tolist()}
        parts[split] = datasets.Dataset.from_dict(rows, features)
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "copy"))
    return DataSettings(paths={"toy-a": tmp_path / "copy"})


def test_predictions_are_the_same(toy_session: Session, copy_of_toy_a: DataSettings) -> None:
    own = toy_session.evaluation_task("toy-a", "test")
    with use_data(copy_of_toy_a):
        given = toy_session.evaluation_task("toy-a", "test")
        some = toy_session.evaluation_task("toy-a", "test", 12, 3)
    assert given.inputs.dtype == torch.uint8
    assert torch.equal(given.labels, own.labels)
    assert torch.equal(predict(given, toy_session.runtime), predict(own, toy_session.runtime))
    assert torch.equal(some.labels, toy_session.evaluation_task("toy-a", "test", 12, 3).labels)


@pytest.mark.parametrize("fisher", ["mc", "type-2", "empirical"])
def test_masks_are_the_same(tmp_path: Path, copy_of_toy_a: DataSettings, fisher: str) -> None:
    options = {"rounds": 2, "batches": 1, "fisher": fisher}

    def mask(name: str) -> dict[str, torch.Tensor]:
        path = tmp_path / name
        calibrate(CalibrateRequest("toy-clip", "toy-a", 0.8, path, options=options, common=CPU))
        return dict(read_mask(path).live)

    own = mask("own")
    with use_data(copy_of_toy_a):
        given = mask("given")
    assert own.keys() == given.keys()
    assert all(torch.equal(flags, given[name]) for name, flags in own.items())


def test_checkpoints_are_the_same(tmp_path: Path, copy_of_toy_a: DataSettings) -> None:
    def tune(name: str) -> dict[str, torch.Tensor]:
        path = tmp_path / name
        finetune(FinetuneRequest("toy-clip", "toy-a", "nonlinear", path, common=CPU))
        return dict(read_checkpoint(path).tensors)

    own = tune("own")
    with use_data(copy_of_toy_a):
        given = tune("given")
    assert all(torch.equal(value, given[name]) for name, value in own.items())
