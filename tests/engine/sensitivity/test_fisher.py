"""The Fisher diagonal against hand-computed cases and a naive float64 loop over every entry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.data.splits import load_split
from talos_engine.device import Runtime
from talos_engine.errors import OptionError, TrainingError
from talos_engine.sensitivity.fisher import (
    FISHER_TYPES,
    SCORE_KINDS,
    FisherConfig,
    draw_uniform,
    estimate_fisher_diag,
)
from talos_engine.workflows.opening import Session


class Logistic(nn.Module):
    """Two classes with logits (w·x, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs * self.weight  # (batch, 1)
        return torch.cat([first, torch.zeros_like(first)], dim=1)


class Constant(nn.Module):
    """Logits that do not depend on the input: the gradient tells which label was drawn."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(probabilities, dtype=torch.float64).log())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.bias.expand(len(inputs), -1)


def drawn_shares(scores: Tensor, probabilities: Tensor) -> Tensor:
    """Share of draws of each class, from the scores of ``Constant``.

    Where label y is drawn, entry j of the gradient is 1[j = y] − p_j.
    """
    missed, hit = probabilities**2, (1 - probabilities) ** 2
    return (scores - missed) / (hit - missed)


def test_by_hand(make_batch: Callable[..., Any]) -> None:
    """p = 1/2 for both classes, so each gradient is ±x/2 and both score as x²/4."""
    inputs = torch.tensor([[1.0], [-1.0], [3.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1])
    model = Logistic()
    for fisher in FISHER_TYPES:
        config = FisherConfig(fisher)
        scores = estimate_fisher_diag(
            model, dict(model.named_parameters()), [make_batch(inputs, labels)], config
        )
        assert scores["weight"].tolist() == pytest.approx([(1 + 1 + 9) / 12]), fisher
    scores = estimate_fisher_diag(
        model,
        dict(model.named_parameters()),
        [make_batch(inputs, labels)],
        FisherConfig("type-2", score="abs"),
    )
    assert scores["weight"].tolist() == pytest.approx([(1 + 1 + 3) / 6])


def test_kinds_differ_where_the_label_matters(make_batch: Callable[..., Any]) -> None:
    """p = 3/4: expectation p(1−p)x² = 3/16, the observed label 1 alone gives p² = 9/16."""
    model = Logistic()
    parameters = {"weight": torch.tensor([3.0], dtype=torch.float64).log()}
    batch = make_batch(torch.ones(1, 1, dtype=torch.float64), torch.tensor([1]))
    exact = estimate_fisher_diag(model, parameters, [batch], FisherConfig("type-2"))
    observed = estimate_fisher_diag(model, parameters, [batch], FisherConfig("empirical"))
    assert exact["weight"].item() == pytest.approx(3 / 16)
    assert observed["weight"].item() == pytest.approx(9 / 16)
    assert model.weight.item() == 0.0, "the values given are used, the module's own kept"


def toy_problem(session: Session, count: int = 7) -> tuple[nn.Module, Tensor, Tensor]:
    classifier = session.classifier("toy-a")
    inputs, labels = session.prepare(load_split(EMBEDDED_TASKS.get("toy-a"), "train"))
    return classifier, inputs[:count], labels[:count]


def toy_parameters(session: Session, *, double: bool) -> dict[str, Tensor]:
    state = session.backbone.encoder_state()
    names = session.backbone.structure.maskable
    return {name: state[name].double() if double else state[name] for name in names}


def inverse_cdf_labels(
    classifier: nn.Module, inputs: Tensor, ids: Tensor, *, seed: int, round_index: int, samples: int
) -> list[list[int]]:
    """The labels that ``mc`` draws, by a plain loop."""
    model = copy.deepcopy(classifier).double()
    with torch.no_grad():
        probabilities = torch.softmax(model(inputs.double()), dim=1).numpy()
    draws: list[list[int]] = [[] for _ in ids]
    for draw in range(samples):
        uniform = draw_uniform(seed, ids, round_index, draw)[:, 0].tolist()
        for row, (u, p) in enumerate(zip(uniform, probabilities, strict=True)):
            label, reached = 0, p[0]
            while u >= reached and label + 1 < len(p):
                label += 1
                reached += p[label]
            draws[row].append(label)
    return draws


@pytest.mark.parametrize("score", SCORE_KINDS)
@pytest.mark.parametrize("fisher", FISHER_TYPES)
@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_every_maskable_tensor_equals_the_naive_loop(
    toy_session: Session,
    make_batch: Callable[..., Any],
    naive_fisher: Callable[..., dict[str, Tensor]],
    fisher: str,
    score: str,
    double: bool,
) -> None:
    classifier, inputs, labels = toy_problem(toy_session)
    ids = torch.tensor([4, 9, 2, 7, 1, 0, 30])
    draws = inverse_cdf_labels(classifier, inputs, ids, seed=5, round_index=2, samples=3)
    expected = naive_fisher(
        classifier,
        toy_parameters(toy_session, double=True),
        inputs,
        labels,
        fisher=fisher,
        score=score,
        draws=draws,
    )
    if double:
        classifier, inputs = classifier.double(), inputs.double()
    found = estimate_fisher_diag(
        classifier,
        toy_parameters(toy_session, double=double),
        [make_batch(inputs, labels, ids)],
        FisherConfig(fisher, mc_samples=3, score=score, seed=5, micro_batch=3),
        round_index=2,
    )
    assert list(found) == list(toy_session.backbone.structure.maskable)
    tolerance = 1e-6 if double else 1e-4
    for name, reference in expected.items():
        assert found[name].dtype is (torch.float64 if double else torch.float32)
        assert found[name].shape == reference.shape
        worst = float((found[name].double() - reference).abs().max())
        assert worst <= tolerance * float(reference.max()), name
        assert float(reference.max()) > 0, name


def test_key_biases_score_nothing_but_noise(
    toy_session: Session, make_batch: Callable[..., Any]
) -> None:
    classifier, inputs, labels = toy_problem(toy_session)
    scores = estimate_fisher_diag(
        classifier.double(),
        toy_parameters(toy_session, double=True),
        [make_batch(inputs.double(), labels)],
        FisherConfig("type-2"),
    )
    for group in toy_session.backbone.structure.groups:
        rows = scores[group.name][group.start : group.stop]
        if group.shift_invariant:
            assert float(rows.max()) < 1e-20 * float(scores[group.name].max())
        else:
            assert float(rows.max()) > 1e-12


@pytest.mark.parametrize("fisher", FISHER_TYPES)
def test_neither_chunks_nor_batches_nor_their_order_matter(
    small_classifier: Callable[..., nn.Module], make_batch: Callable[..., Any], fisher: str
) -> None:
    model = small_classifier().double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(11, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (11,), generator=generator)
    ids = torch.randperm(100, generator=generator)[:11]

    def scores(pieces: list[list[int]], chunk: int) -> dict[str, Tensor]:
        batches = [make_batch(inputs[rows], labels[rows], ids[rows]) for rows in pieces]
        config = FisherConfig(fisher, mc_samples=2, micro_batch=chunk)
        return estimate_fisher_diag(model, dict(model.named_parameters()), batches, config)

    reference = scores([list(range(11))], 100)
    shuffled = torch.randperm(11, generator=generator).tolist()
    for pieces, chunk in (
        ([list(range(11))], 1),
        ([list(range(11))], 4),
        ([shuffled], 16),
        ([shuffled[:2], shuffled[2:3], shuffled[3:]], 3),
    ):
        for name, value in scores(pieces, chunk).items():
            torch.testing.assert_close(value, reference[name], rtol=1e-12, atol=1e-15)


def test_draws_are_distributed_as_the_models_probabilities(make_batch: Callable[..., Any]) -> None:
    """20,000 draws: each share within five standard deviations of its probability."""
    probabilities = torch.tensor([0.45, 0.05, 0.3, 0.2], dtype=torch.float64)
    model = Constant(probabilities.tolist())
    count, samples = 2000, 10
    batch = make_batch(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64))
    scores = estimate_fisher_diag(
        model,
        dict(model.named_parameters()),
        [batch],
        FisherConfig("mc", mc_samples=samples, micro_batch=500),
    )
    shares = drawn_shares(scores["bias"], probabilities)
    assert float(shares.sum()) == pytest.approx(1)
    spread = (probabilities * (1 - probabilities) / (count * samples)).sqrt()
    assert bool(((shares - probabilities).abs() < 5 * spread).all()), shares
    assert float((shares - probabilities).abs().max()) > 0, "random, not the exact expectation"


def test_impossible_labels_are_never_drawn(make_batch: Callable[..., Any]) -> None:
    model = Constant([1e-300, 1.0, 1e-300])
    batch = make_batch(torch.zeros(300, 1), torch.zeros(300, dtype=torch.int64))
    scores = estimate_fisher_diag(
        model, dict(model.named_parameters()), [batch], FisherConfig("mc", micro_batch=300)
    )
    assert scores["bias"].tolist() == pytest.approx([0, 0, 0], abs=1e-30)


@pytest.mark.parametrize("change", [{"seed": 1}, {"round_index": 1}])
def test_draws_change_with_seed_and_round(
    make_batch: Callable[..., Any], change: dict[str, int]
) -> None:
    probabilities = torch.tensor([0.3, 0.7], dtype=torch.float64)
    model = Constant(probabilities.tolist())
    batch = make_batch(torch.zeros(101, 1), torch.zeros(101, dtype=torch.int64))

    def drawn(seed: int = 0, round_index: int = 0) -> list[int]:
        """Whether each example draws label 1."""
        config = FisherConfig("mc", seed=seed)
        labels = []
        for row in range(101):
            one = make_batch(batch.inputs[:1], batch.labels[:1], [row])
            scores = estimate_fisher_diag(
                model, dict(model.named_parameters()), [one], config, round_index=round_index
            )
            labels.append(round(float(drawn_shares(scores["bias"], probabilities)[1])))
        return labels

    first = drawn()
    assert first == drawn()
    assert 50 <= sum(first) <= 90
    assert 20 < sum(a != b for a, b in zip(first, drawn(**change), strict=True)) < 70


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    st.integers(0, 2**63),
    st.randoms(use_true_random=False),
)
def test_the_number_of_an_example_does_not_depend_on_its_neighbours(
    ids: list[int], seed: int, random: Any
) -> None:
    together = draw_uniform(seed, torch.tensor(ids), 3, 1)
    assert together.dtype is torch.float64
    assert together.shape == (len(ids), 1)
    assert bool(((together >= 0) & (together < 1)).all())
    order = list(range(len(ids)))
    random.shuffle(order)
    shuffled = draw_uniform(seed, torch.tensor([ids[at] for at in order]), 3, 1)
    assert torch.equal(shuffled, together[order])


def test_draws_are_uniform_and_apart() -> None:
    numbers = torch.cat([draw_uniform(0, torch.arange(2000), 1, draw) for draw in range(2)], dim=1)
    assert len(set(numbers.flatten().tolist())) == 4000
    # Kolmogorov-Smirnov, 1e-6 level: sup |F_n - F| < 2.69 / sqrt(n).
    ordered = np.sort(numbers.flatten().numpy())
    steps = np.arange(1, 4001) / 4000
    assert float(np.abs(ordered - steps).max()) < 2.69 / 4000**0.5
    correlation = float(np.corrcoef(numbers.numpy().T)[0, 1])
    assert abs(correlation) < 5 / 2000**0.5


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from(FISHER_TYPES))
def test_scores_are_never_negative_and_of_the_right_shape(
    small_classifier: Callable[..., nn.Module],
    make_batch: Callable[..., Any],
    seed: int,
    count: int,
    fisher: str,
) -> None:
    model = small_classifier(seed)
    inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    batch = make_batch(inputs, torch.zeros(count, dtype=torch.int64))
    chosen = {"hidden.weight": model.get_parameter("hidden.weight")}
    scores = estimate_fisher_diag(model, chosen, [batch], FisherConfig(fisher))
    assert set(scores) == set(chosen), "what is not named gets no score"
    assert scores["hidden.weight"].shape == (4, 2)
    assert bool((scores["hidden.weight"] >= 0).all())


@pytest.mark.parametrize("fast", [True, False])
def test_it_leaves_model_and_backends_as_they_were(
    toy_session: Session, make_batch: Callable[..., Any], fast: bool
) -> None:
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        check_what_is_left(toy_session, make_batch, fast)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def check_what_is_left(toy_session: Session, make_batch: Callable[..., Any], fast: bool) -> None:
    classifier, inputs, labels = toy_problem(toy_session, 2)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    parameters = toy_parameters(toy_session, double=False)
    estimate_fisher_diag(classifier, parameters, [make_batch(inputs, labels)], FisherConfig())
    assert torch.backends.mha.get_fastpath_enabled() == fast
    with pytest.raises(IndexError):
        estimate_fisher_diag(
            classifier, parameters, broken(make_batch(inputs, labels)), FisherConfig()
        )
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.backends.cuda.flash_sdp_enabled()
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert not value.requires_grad


def broken(batch: Any) -> Iterator[Any]:
    """One batch, then a failure."""
    yield batch
    raise IndexError


def test_a_non_finite_gradient_is_an_error_that_names_the_parameter(
    small_classifier: Callable[..., nn.Module], make_batch: Callable[..., Any]
) -> None:
    model = small_classifier()
    batch = make_batch(torch.full((2, 2), float("inf")), torch.tensor([0, 1]))
    with pytest.raises(TrainingError, match=r"gradient of 'hidden\.weight' is not finite"):
        estimate_fisher_diag(
            model, dict(model.named_parameters()), [batch], FisherConfig("empirical")
        )


def test_no_example_is_an_error(small_classifier: Callable[..., nn.Module]) -> None:
    model = small_classifier()
    with pytest.raises(TrainingError, match="no example"):
        estimate_fisher_diag(model, dict(model.named_parameters()), [], FisherConfig())


@pytest.mark.parametrize(
    "given_options",
    [{"fisher": "exact"}, {"score": "cube"}, {"mc_samples": 0}, {"micro_batch": 0}],
    ids=str,
)
def test_options_have_ranges(given_options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        FisherConfig(**given_options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("fisher", FISHER_TYPES)
def test_the_gpu_gives_the_same_scores(
    toy_session: Session, make_batch: Callable[..., Any], fisher: str
) -> None:
    classifier, inputs, labels = toy_problem(toy_session)
    parameters = toy_parameters(toy_session, double=True)
    batch = make_batch(inputs.double(), labels)
    slow = estimate_fisher_diag(classifier.double(), parameters, [batch], FisherConfig(fisher))
    fast = estimate_fisher_diag(
        classifier.cuda(),
        parameters,
        [batch],
        FisherConfig(fisher),
        runtime=Runtime(torch.device("cuda")),
    )
    for name, value in slow.items():
        torch.testing.assert_close(fast[name].cpu(), value, rtol=1e-8, atol=1e-14)
