"""Layers that the taps cover, and layers that they must leave to the slower path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.models.checkpointing import gradient_checkpointing
from talos_engine.models.rank_classifier import RankClassifier, TokenLogits, pack_examples
from talos_engine.models.structure import t5_structure
from talos_engine.sensitivity.coverage import Coverage, find_coverage
from talos_engine.sensitivity.fisher import ExampleBatch, FisherConfig, estimate_fisher_diag

WIDTH = 6


class Model(nn.Module):
    """Three logits from a layer's outputs, whatever their shape."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.call = call

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.tanh(self.call(self.layer, inputs)).flatten(1)  # (n, anything)
        readout = torch.linspace(-1, 1, 3 * outputs.shape[1], dtype=outputs.dtype)
        return outputs @ readout.view(-1, 3)


def plainly(layer: nn.Module, inputs: Tensor) -> Tensor:
    return layer(inputs)


def twice(layer: nn.Module, inputs: Tensor) -> Tensor:
    return layer(layer(inputs))


def sequence_first(layer: nn.Module, inputs: Tensor) -> Tensor:
    return layer(inputs.transpose(0, 1)).transpose(0, 1)


def behind_its_back(layer: nn.Module, inputs: Tensor) -> Tensor:
    return F.linear(inputs, layer.weight, layer.bias)


def attending(**options: Any) -> Callable[[Any, Tensor], Tensor]:
    return lambda layer, inputs: layer(inputs, inputs, inputs, **options)[0]


def crosswise(layer: nn.Module, inputs: Tensor) -> Tensor:
    other = inputs.flip(1)[:, :3] * 2
    return layer(inputs, other, other.sin(), need_weights=False)[0]


def attention(**options: Any) -> nn.Module:
    layer = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options)
    nn.init.normal_(layer.out_proj.bias) if layer.out_proj.bias is not None else None
    return layer


SEQUENCE, IMAGE = (5, WIDTH), (4, 9, 8)
MASK = torch.triu(torch.full((5, 5), -1e4, dtype=torch.float64), 1)


class PaddingItself(nn.Conv2d):
    """As the "same" convolutions of timm."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(F.pad(inputs, (1, 0, 1, 0)))


class ChannelsFirst(nn.LayerNorm):
    """As the two-dimensional layer norm of ConvNeXt."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Pooling(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.mean(dim=1))


def half_hidden(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Half of the rows are used a second time, a thousand times less, where no tap sees it."""
    seen = layer(inputs)
    hidden = F.linear(inputs, layer.weight[2:]) * 1e-3
    return torch.cat([seen[..., :2], hidden], dim=-1)


COVERED: dict[str, tuple[Callable[[], nn.Module], Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(WIDTH, 4), plainly, SEQUENCE),
    "linear, one position": (lambda: nn.Linear(WIDTH, 9), plainly, (WIDTH,)),
    "linear, two extra dimensions": (lambda: nn.Linear(WIDTH, 9), plainly, (2, 3, WIDTH)),
    "linear, changed in place": (
        lambda: nn.Linear(WIDTH, 4),
        lambda layer, x: F.relu_(layer(x).add_(0.5)),
        SEQUENCE,
    ),
    "convolution, changed in place": (
        lambda: nn.Conv2d(4, 6, 3),
        lambda layer, x: F.relu_(layer(x)),
        IMAGE,
    ),
    "linear without bias": (lambda: nn.Linear(WIDTH, 4, bias=False), plainly, SEQUENCE),
    "layer norm": (lambda: nn.LayerNorm(WIDTH), plainly, SEQUENCE),
    "layer norm without bias": (lambda: nn.LayerNorm(WIDTH, bias=False), plainly, SEQUENCE),
    "rms norm": (lambda: nn.RMSNorm(WIDTH), plainly, SEQUENCE),
    "rms norm with eps": (lambda: nn.RMSNorm(WIDTH, eps=0.1), plainly, SEQUENCE),
    "attention": (attention, attending(need_weights=False), SEQUENCE),
    "attention without bias": (
        lambda: attention(bias=False),
        attending(need_weights=False),
        SEQUENCE,
    ),
    "attention with a mask": (attention, attending(need_weights=False, attn_mask=MASK), SEQUENCE),
    "attention with a mask per head": (
        attention,
        lambda layer, x: layer(
            x, x, x, need_weights=False, attn_mask=MASK.repeat(2 * len(x), 1, 1)
        )[0],
        SEQUENCE,
    ),
    "cross-attention": (attention, crosswise, SEQUENCE),
    "patches": (lambda: nn.Conv2d(4, 6, 3, stride=3), plainly, IMAGE),
    "convolution": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        plainly,
        IMAGE,
    ),
    "grouped convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), plainly, IMAGE),
    "depthwise convolution": (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), plainly, IMAGE),
}
LEFT: dict[str, tuple[Callable[[], nn.Module], Any, tuple[int, ...]]] = {
    "called twice": (lambda: nn.Linear(WIDTH, WIDTH), twice, SEQUENCE),
    "sequence first": (lambda: nn.Linear(WIDTH, 4), sequence_first, SEQUENCE),
    "used behind its back": (lambda: nn.Linear(WIDTH, 4), behind_its_back, SEQUENCE),
    "attention, sequence first": (
        lambda: nn.MultiheadAttention(WIDTH, 2),
        lambda layer, x: attending(need_weights=False)(layer, x.transpose(0, 1)).transpose(0, 1),
        SEQUENCE,
    ),
    "attention that returns weights": (attention, attending(need_weights=True), SEQUENCE),
    "attention with another width of keys": (
        lambda: attention(kdim=3, vdim=3),
        lambda layer, x: layer(x, x[..., :3], x[..., 3:], need_weights=False)[0],
        SEQUENCE,
    ),
    "mirrored padding": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        plainly,
        IMAGE,
    ),
    "padding by name": (lambda: nn.Conv2d(4, 6, 3, padding="same"), plainly, IMAGE),
    "a layer of another kind": (nn.PReLU, plainly, SEQUENCE),
    "a convolution that pads": (lambda: PaddingItself(4, 6, 3), plainly, IMAGE),
    "a layer norm over channels": (lambda: ChannelsFirst(4), plainly, IMAGE),
    "a linear layer that pools": (lambda: Pooling(WIDTH, 4), plainly, SEQUENCE),
    "rows that hardly matter": (lambda: nn.Linear(WIDTH, 4, bias=False), half_hidden, SEQUENCE),
    "group norm": (lambda: nn.GroupNorm(2, 4), plainly, IMAGE),
}


def make(case: tuple[Callable[[], nn.Module], Any, tuple[int, ...]]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer, call, shape = case
    model = Model(layer(), call).double().eval().requires_grad_(False)
    return model, torch.randn(4, *shape, dtype=torch.float64)


def score(
    model: nn.Module, inputs: Tensor, coverage: Coverage | None = None, **options: Any
) -> dict[str, Tensor]:
    batch = ExampleBatch(torch.arange(len(inputs)), inputs, torch.arange(len(inputs)) % 3)
    values = dict(model.named_parameters())
    config = FisherConfig(**{"fisher": "type-2", "micro_batch": 3, **options})
    return estimate_fisher_diag(model, values, [batch], config, coverage=coverage)


@pytest.mark.parametrize("kind", ["square", "abs"])
@pytest.mark.parametrize("name", [*COVERED, *LEFT])
def test_every_layer_equals_the_naive_loop(
    name: str, kind: str, naive_fisher: Callable[..., dict[str, Tensor]]
) -> None:
    model, inputs = make((COVERED | LEFT)[name])
    names = [each for each, _ in model.named_parameters()]
    coverage = find_coverage(model, dict(model.named_parameters()), names, inputs)
    if name in COVERED:
        assert coverage.covered == set(names)
    else:  # at least what the case is about; an output projection may still be covered
        assert coverage.fallback
    labels = torch.arange(len(inputs)) % 3
    values = dict(model.named_parameters())
    expected = naive_fisher(model, values, inputs, labels, score=kind)
    for parameter, value in score(model, inputs, coverage, score=kind).items():
        assert float(expected[parameter].max()) > 0
        torch.testing.assert_close(value, expected[parameter], rtol=1e-9, atol=1e-14)


def test_a_tapped_pass_that_raises_leaves_everything_to_the_slower_path(
    naive_fisher: Callable[..., dict[str, Tensor]],
) -> None:
    """A stack that reads the type of its layer's forward method, say."""
    model, inputs = make(COVERED["linear"])

    def inspecting(layer: Any, x: Tensor) -> Tensor:
        layer.forward.__func__.__name__  # noqa: B018, an instance attribute has no such thing
        return layer(x)

    model.call = inspecting
    values = dict(model.named_parameters())
    coverage = find_coverage(model, values, list(values), inputs)
    assert coverage.covered == frozenset()
    expected = naive_fisher(model, values, inputs, torch.arange(4) % 3)
    for name, value in score(model, inputs).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("names", [{"layer.weight": "layer.weights"}, {}])
def test_names_and_shapes_must_be_the_models(names: dict[str, str]) -> None:
    model, inputs = make(COVERED["linear"])
    values = {names.get(name, name): value for name, value in model.named_parameters()}
    if not names:
        values["layer.weight"] = values["layer.weight"].T
    batch = ExampleBatch(torch.arange(4), inputs, torch.arange(4) % 3)
    with pytest.raises(ValueError, match="in the model"):
        estimate_fisher_diag(model, values, [batch], FisherConfig())
    with pytest.raises(ValueError, match="in the model"):
        find_coverage(model, values, list(values), inputs)


def test_covered_and_uncovered_layers_side_by_side(
    naive_fisher: Callable[..., dict[str, Tensor]],
) -> None:
    torch.manual_seed(0)
    tower = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.PReLU(), nn.LayerNorm(WIDTH))
    model = Model(tower, plainly).double().requires_grad_(False)
    inputs = torch.randn(7, *SEQUENCE, dtype=torch.float64)
    values = dict(model.named_parameters())
    coverage = find_coverage(model, values, list(values), inputs)
    assert coverage.fallback == {"layer.1.weight"}
    for fisher in ("type-2", "empirical"):
        expected = naive_fisher(model, values, inputs, torch.arange(7) % 3, fisher=fisher)
        for name, value in score(model, inputs, fisher=fisher).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-14)


def test_names_that_are_not_scored_cost_and_give_nothing() -> None:
    model, inputs = make(COVERED["linear"])
    batch = ExampleBatch(torch.arange(4), inputs, torch.arange(4) % 3)
    values = dict(model.named_parameters())
    config = FisherConfig("type-2")
    everything = estimate_fisher_diag(model, values, [batch], config)
    some = estimate_fisher_diag(model, values, [batch], config, scored={"layer.bias"})
    assert list(some) == ["layer.bias"]
    assert torch.equal(some["layer.bias"], everything["layer.bias"])


def test_modules_are_put_back_even_after_an_error() -> None:
    model, inputs = make(COVERED["linear"])

    def refuse(layer: nn.Module, x: Tensor) -> Tensor:
        raise RuntimeError("no")

    model.call = refuse
    with pytest.raises(RuntimeError, match="no"):
        score(model, inputs)
    assert not any("forward" in module.__dict__ for module in model.modules())


def make_t5(feed_forward: str) -> tuple[RankClassifier, tuple[str, ...], Tensor]:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=40,
        d_model=12,
        d_kv=5,
        d_ff=20,
        num_layers=2,
        num_heads=2,
        feed_forward_proj=feed_forward,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).double().eval()
    network = TokenLogits(model, 0, 0, 12**-0.5)
    classifier = RankClassifier(network, 0, 40).eval().requires_grad_(False)
    questions = torch.randint(2, 40, (5, 7)).tolist()
    questions[1] = questions[1][:5]
    answers = [[[5, 1], [6, 7, 1], [8, 1]]] * 5
    return classifier, t5_structure(model).maskable, pack_examples(questions, answers, 0)


@pytest.mark.parametrize("fisher", ["type-2", "empirical"])
@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_every_maskable_tensor_of_a_tiny_t5(
    naive_fisher: Callable[..., dict[str, Tensor]], feed_forward: str, fisher: str
) -> None:
    """The answers of one example are summed before squaring; 1e-6: T5 normalizes in float32."""
    classifier, names, tokens = make_t5(feed_forward)
    own = dict(classifier.named_parameters())
    values = {name: own[name] for name in names}
    assert find_coverage(classifier, values, names, tokens).covered == set(names)
    labels = torch.arange(5) % 3
    # The oracle casts inputs to float64, which token ids are not.
    wrapped = _FromFloat(classifier)
    expected = naive_fisher(
        wrapped,
        {f"inner.{name}": value for name, value in values.items()},
        tokens,
        labels,
        fisher=fisher,
    )
    found = estimate_fisher_diag(
        classifier, values, [ExampleBatch(torch.arange(5), tokens, labels)], FisherConfig(fisher)
    )
    for name in names:
        reference = expected[f"inner.{name}"]
        assert float(reference.max()) > 0
        assert float((found[name] - reference).abs().max()) <= 1e-6 * float(reference.max()), name


class _FromFloat(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens.long())


def test_t5_embeddings_are_not_maskable() -> None:
    classifier, names, _ = make_t5("relu")
    everything = {name for name, _ in classifier.named_parameters()}
    left_out = everything - set(names)
    assert left_out == {
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    } | {name for name in everything if "lm_head" in name}


@pytest.mark.parametrize("fisher", ["mc", "type-2"])
def test_checkpointing_recomputes_the_same_numbers(toy_session: Any, fisher: str) -> None:
    """T5 and an open_clip tower; values other than the model's own must survive recomputation."""
    t5, names, tokens = make_t5("relu")
    tower = toy_session.classifier("toy-a")
    structure = toy_session.backbone.structure
    for classifier, chosen, inputs in (
        (t5, names, tokens),
        (tower, structure.maskable, torch.randn(5, 3, 32, 32)),
    ):
        own = dict(classifier.named_parameters())
        values = {name: 1.5 * own[name] for name in chosen}
        batch = ExampleBatch(torch.arange(5), inputs, torch.zeros(5, dtype=torch.int64))
        config = FisherConfig(fisher, mc_samples=2)
        plain = estimate_fisher_diag(classifier, values, [batch], config)
        modes = [module.training for module in classifier.modules()]
        with gradient_checkpointing(classifier):
            again = estimate_fisher_diag(classifier, values, [batch], config)
        assert modes == [module.training for module in classifier.modules()]
        for name, value in plain.items():
            assert torch.equal(value, again[name]), name


def test_checkpointing_really_recomputes(toy_session: Any) -> None:
    tower = toy_session.classifier("toy-a")
    calls = []
    block = tower.visual.transformer.resblocks[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    own = dict(tower.named_parameters())
    values = {name: own[name] for name in toy_session.backbone.structure.maskable}
    inputs = torch.randn(2, 3, 32, 32)
    batch = ExampleBatch(torch.arange(2), inputs, torch.zeros(2, dtype=torch.int64))
    coverage = find_coverage(tower, values, list(values), inputs)
    calls.clear()
    estimate_fisher_diag(tower, values, [batch], FisherConfig("mc"), coverage=coverage)
    assert len(calls) == 1
    calls.clear()
    with gradient_checkpointing(tower):
        estimate_fisher_diag(tower, values, [batch], FisherConfig("mc"), coverage=coverage)
    assert len(calls) == 2


def test_a_bfloat16_forward_pass_gives_scores_of_the_same_size(toy_session: Any) -> None:
    """Eight bits of mantissa: each tensor's scores within a few percent of their maximum."""
    tower = toy_session.classifier("toy-a")
    own = dict(tower.named_parameters())
    values = {name: own[name] for name in toy_session.backbone.structure.maskable}
    batch = ExampleBatch(
        torch.arange(8), torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)
    )
    exact, rough = (
        estimate_fisher_diag(
            tower, values, [batch], FisherConfig("type-2"), runtime=Runtime(dtype=dtype)
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    differing = 0
    for name, value in exact.items():
        assert rough[name].dtype is torch.float32
        worst = float((rough[name] - value).abs().max())
        assert worst < 0.1 * float(value.max()), name
        differing += not torch.equal(rough[name], value)
    assert differing > len(exact) // 2, "bfloat16 was really used"


@pytest.mark.filterwarnings("ignore")
def test_it_equals_backpack_on_what_both_support() -> None:
    """BackPACK's SumGradSquared of a convolution and two linear layers."""
    from backpack import backpack, extend
    from backpack.extensions import SumGradSquared

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5), nn.Tanh()
    ).append(nn.Linear(5, 3))
    inputs, labels = torch.randn(9, 3, 6, 6), torch.arange(9) % 3
    values = dict(model.named_parameters())
    found = estimate_fisher_diag(
        model, values, [ExampleBatch(torch.arange(9), inputs, labels)], FisherConfig("empirical")
    )
    theirs = extend(model)
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))(theirs(inputs), labels)
    with backpack(SumGradSquared()):
        loss.backward()
    for name, parameter in theirs.named_parameters():
        reference = parameter.sum_grad_squared / 9
        assert float((found[name] - reference).abs().max()) <= 1e-5 * float(reference.max()), name
