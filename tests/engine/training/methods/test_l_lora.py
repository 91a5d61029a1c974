"""``l-lora``: only B of Q and V trains; τ is s·B A0; the function is the linearized module's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from talos_engine.artifacts import read_checkpoint, read_vector
from talos_engine.errors import OptionError
from talos_engine.models.low_rank import LowRankClassifier
from talos_engine.training.loop import TrainConfig, TrainJob, train
from talos_engine.training.methods.l_lora import (
    LLoraConfig,
    count_factors,
    move_queries_and_values,
    train_factors,
)
from talos_engine.training.spec import Trainable, Trainee
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.opening import Common, Session
from talos_engine.workflows.planning import plan_finetune
from talos_engine.workflows.unfinished import Persistence
from talos_engine.workflows.vector import VectorRequest, make_vector

CPU = Common(device="cpu")
CONFIG = LLoraConfig(rank=4, lora_alpha=6.0)
WIDTH = 16
IN_PROJ = "visual.transformer.resblocks.{}.attn.in_proj_weight"


def trainee_of(session: Session, config: LLoraConfig = CONFIG, seed: int = 0) -> Trainee:
    structure = session.backbone.structure
    flags = move_queries_and_values(config, structure, None)
    classifier = session.classifier("toy-a")
    return train_factors(config, Trainable(session.backbone, classifier, flags, seed))


def trained(session: Session, config: LLoraConfig = CONFIG, steps: int = 8) -> Trainee:
    trainee = trainee_of(session, config)
    inputs, labels = (
        getattr(session.evaluation_task("toy-a", "train"), name) for name in ("inputs", "labels")
    )
    training = TrainConfig(steps, 16, 0.05, 0.0, 0, "constant", 1.0, 0)
    train(TrainJob(trainee.classifier, trainee.parameters, trainee.live, inputs, labels, training))
    return trainee


def factors(trainee: Trainee) -> dict[tuple[str, str], tuple[Tensor, Tensor, float]]:
    """(A, B, s) by parameter and kind."""
    assert isinstance(trainee.classifier, LowRankClassifier)
    return {
        (name, block.group.kind): (block.a, block.b.detach(), block.scale)
        for name, blocks in trainee.classifier._by_name.items()
        for block in blocks
    }


def test_only_b_trains_and_only_rows_of_q_and_v_may_move(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    flags = move_queries_and_values(CONFIG, structure, None)
    assert set(flags) == {IN_PROJ.format(0), IN_PROJ.format(1)}
    for rows in flags.values():
        assert rows is not None
        assert rows[:WIDTH].all()
        assert not rows[WIDTH : 2 * WIDTH].any(), "K"
        assert rows[2 * WIDTH :].all()
    trainee = trainee_of(toy_session)
    sizes = {name: tuple(value.shape) for name, value in trainee.parameters.items()}
    assert set(sizes.values()) == {(WIDTH, 4)}
    assert len(sizes) == 4
    assert count_factors(CONFIG, structure, flags) == 4 * WIDTH * 4


def test_at_the_start_it_is_the_base(toy_session: Session) -> None:
    task = toy_session.evaluation_task("toy-a", "val")
    trainee = trainee_of(toy_session)
    with torch.no_grad():
        assert torch.equal(trainee.classifier(task.inputs), task.classifier(task.inputs))


def test_the_task_vector_is_the_low_rank_product(toy_session: Session) -> None:
    theta0 = {n: v.clone() for n, v in toy_session.backbone.encoder_state().items()}
    trainee = trained(toy_session)
    trainee.settle()
    products = factors(trainee)
    state = toy_session.backbone.encoder_state()
    for name, before in theta0.items():
        if "in_proj_weight" not in name:
            assert torch.equal(state[name], before), name
            continue
        exact = torch.zeros(before.shape, dtype=torch.float64)
        for kind, start in (("q", 0), ("v", 2 * WIDTH)):
            a, b, scale = products[name, kind]
            assert scale == 1.5
            exact[start : start + WIDTH] = scale * (b.double() @ a.double())
        assert exact.abs().max() > 1e-3
        assert torch.equal(state[name], (before.double() + exact).float()), "rounded once"
        rank = torch.linalg.matrix_rank(exact[:WIDTH], rtol=1e-10)
        assert int(rank) == 4


def test_the_function_is_that_of_the_linearized_modules(toy_session: Session) -> None:
    """Each attention computes q and v as W0 x + s·B (A0 x), its own products, in float64."""
    trainee = trained(toy_session)
    products = factors(trainee)
    model: Any = toy_session.backbone.model  # type: ignore[attr-defined]
    task = toy_session.evaluation_task("toy-a", "val")
    model.double()
    doubled = {key: (a.double(), b.double(), scale) for key, (a, b, scale) in products.items()}

    def attend(name: str, module: torch.nn.MultiheadAttention, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
        a, b, scale = doubled[name, "q"]
        q = q + scale * ((x @ a.T) @ b.T)
        a, b, scale = doubled[name, "v"]
        v = v + scale * ((x @ a.T) @ b.T)
        heads = [
            t.unflatten(-1, (module.num_heads, -1)).transpose(-2, -3) for t in (q, k, v)
        ]  # (batch, heads, tokens, width)
        weights = torch.softmax(heads[0] @ heads[1].mT / heads[0].shape[-1] ** 0.5, dim=-1)
        mixed = (weights @ heads[2]).transpose(-2, -3).flatten(-2)
        return F.linear(mixed, module.out_proj.weight, module.out_proj.bias)

    blocks = model.visual.transformer.resblocks
    for number, block in enumerate(blocks):
        name = IN_PROJ.format(number)
        block.attention = lambda q_x, name=name, attn=block.attn, **_: attend(name, attn, q_x)
    classifier = toy_session.classifier("toy-a")
    with torch.no_grad():
        by_modules = classifier(task.inputs.double())
        for block in blocks:
            del block.attention  # open_clip's own again
        trainee.settle()
        by_weights = classifier(task.inputs.double())
    torch.testing.assert_close(by_modules, by_weights, rtol=1e-4, atol=1e-5)


def test_over_files(tmp_path: Path) -> None:
    out, vector = tmp_path / "c.safetensors", tmp_path / "v.safetensors"
    options = {"rank": 2, "lora_alpha": 8.0}
    request = FinetuneRequest("toy-clip", "toy-a", "l-lora", out, options=options, common=CPU)
    request = dataclasses.replace(request, training={"steps": 5, "lr": 0.05})
    plan = plan_finetune(request).facts
    result = finetune(request)
    assert result.trained == plan["trained_entries"] == 4 * WIDTH * 2
    header = read_checkpoint(out).header
    assert header.config["options"] == options
    assert header.config["evaluation"] == "plain"
    make_vector(VectorRequest(out, vector))
    entries = read_vector(vector).entries
    assert set(entries) == {IN_PROJ.format(0), IN_PROJ.format(1)}
    for entry in entries.values():
        change = entry.dense()
        assert not change[WIDTH : 2 * WIDTH].any()
        values = torch.linalg.svdvals(change[:WIDTH].double())
        assert values[1] > 1e-4
        assert values[2] < 1e-5, "rank 2 up to the rounding of θ*"


def test_a_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """A0 is not in the kept state: it is keyed by the seed."""
    request = FinetuneRequest("toy-clip", "toy-a", "l-lora", tmp_path / "c", common=CPU)
    request = dataclasses.replace(request, options={"rank": 3}, training={"steps": 6, "lr": 0.05})
    finetune(dataclasses.replace(request, out=tmp_path / "whole"))
    from talos_engine.training import loop

    step = loop._take_step

    def dying(*arguments: Any) -> Any:
        if arguments[3] == 5:
            raise MemoryError
        return step(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_take_step", dying)
        with pytest.raises(MemoryError):
            finetune(dataclasses.replace(request, kept=Persistence(2)))
    assert finetune(dataclasses.replace(request, kept=Persistence(0, resume=True))).first == 4
    assert request.out.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "--rank must be at least 1"),
        ({"rank": 17}, "--rank must be at most 16"),
        ({"lora_alpha": 0.0}, "--lora-alpha"),
        ({"lora_alpha": float("nan")}, "--lora-alpha"),
    ],
    ids=str,
)
def test_options_have_ranges(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    request = FinetuneRequest(
        "toy-clip", "toy-a", "l-lora", tmp_path / "c", options=options, common=CPU
    )
    for work in (plan_finetune, finetune):
        with pytest.raises(OptionError, match=words):
            work(request)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_its_options_and_a_mask_are_misplaced_elsewhere(toy_files: Any, tmp_path: Path) -> None:
    request = FinetuneRequest("toy-clip", "toy-a", "nonlinear", tmp_path / "c", common=CPU)
    with pytest.raises(OptionError, match="--rank is not an option of method 'nonlinear'"):
        finetune(dataclasses.replace(request, options={"rank": 4}))
    with pytest.raises(OptionError, match="--mask does not go with --method l-lora"):
        finetune(dataclasses.replace(request, method="l-lora", mask=toy_files.mask("a")))
