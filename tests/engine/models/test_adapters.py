"""Adapters merged by us are adapters merged by ``peft``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from talos_engine.errors import ArtifactError, MismatchError
from talos_engine.models.adapters import CONFIG, WEIGHTS, is_adapter, merge_adapter

peft = pytest.importorskip("peft")


class Net(nn.Module):
    """One of each kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 6)
        self.conv = nn.Conv2d(3, 6, 2)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 4)])
        self.head = nn.Linear(4, 5)


def tune(folder: Path, **options: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """θ0 and, by ``peft``, the merged model of a random adapter that is saved in a folder."""
    torch.manual_seed(0)
    net = Net()
    theta0 = {name: value.clone() for name, value in net.state_dict().items()}
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 3, **options})
    model = peft.get_peft_model(net, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    model.save_pretrained(str(folder))
    return theta0, model.merge_and_unload().state_dict()


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["blocks.0", "blocks.1"]},
        {"target_modules": ["blocks.0", "conv", "table"]},
        {"target_modules": ["blocks.0", "blocks.1"], "use_rslora": True},
        {
            "target_modules": ["blocks.0", "blocks.1"],
            "rank_pattern": {"blocks.1": 3},
            "alpha_pattern": {r"blocks\.0": 7, "^blocks.1": 5},
        },
        {"target_modules": ["blocks.0"], "modules_to_save": ["head"]},
        {"target_modules": ["blocks.0", "blocks.1"], "bias": "lora_only"},
    ],
)
def test_the_merged_model_is_that_of_peft(tmp_path: Path, options: dict[str, Any]) -> None:
    theta0, expected = tune(tmp_path, **options)
    assert is_adapter(tmp_path)
    merged = merge_adapter(tmp_path, theta0)
    assert merged.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(merged[name], value, rtol=1e-6, atol=1e-6)
    assert sum(not torch.equal(theta0[name], merged[name]) for name in theta0) >= 1


def test_an_adapter_of_a_part_finds_its_place(tmp_path: Path) -> None:
    theta0, expected = tune(tmp_path, target_modules=["blocks.0"])
    merged = merge_adapter(tmp_path, {f"visual.{name}": value for name, value in theta0.items()})
    torch.testing.assert_close(merged["visual.blocks.0.weight"], expected["blocks.0.weight"])


def test_the_product_is_exact(tmp_path: Path) -> None:
    theta0, _ = tune(tmp_path, target_modules=["blocks.1"])
    saved = load_file(tmp_path / WEIGHTS)
    up = saved["base_model.model.blocks.1.lora_B.weight"].double()
    down = saved["base_model.model.blocks.1.lora_A.weight"].double()
    exact = (theta0["blocks.1.weight"].double() + 1.5 * up @ down).float()
    assert torch.equal(merge_adapter(tmp_path, theta0)["blocks.1.weight"], exact)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"lora_alpha": "3"}, "not numbers"),
        ({"r": 4}, "rank 2"),
        ({"rank_pattern": {"(": 3}}, "pattern"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    theta0, _ = tune(tmp_path, target_modules=["blocks.0"])
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, **change}))
    with pytest.raises((ArtifactError, MismatchError), match=problem):
        merge_adapter(tmp_path, theta0)


def test_what_does_not_fit_the_base_is_named(tmp_path: Path) -> None:
    theta0, _ = tune(tmp_path, target_modules=["blocks.0"])
    with pytest.raises(MismatchError, match=r"blocks\.0"):
        merge_adapter(tmp_path, {"other.weight": torch.zeros(6, 6)})
    with pytest.raises(MismatchError, match=r"blocks\.0.*\(3, 6\)"):
        merge_adapter(tmp_path, {**theta0, "blocks.0.weight": torch.zeros(3, 6)})
    saved = load_file(tmp_path / WEIGHTS)
    key = "base_model.model.blocks.0.lora_A.weight"
    save_file({**saved, key: saved[key] * torch.nan}, tmp_path / WEIGHTS)
    with pytest.raises(ArtifactError, match=r"blocks\.0.*NaN"):
        merge_adapter(tmp_path, theta0)
    save_file({key: saved[key]}, tmp_path / WEIGHTS)
    with pytest.raises(MismatchError, match="counterpart"):
        merge_adapter(tmp_path, theta0)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ArtifactError, match="safe_serialization"):
        merge_adapter(tmp_path, theta0)
