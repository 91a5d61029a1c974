"""Options of methods: built from what was given, refused where they do not belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from talos_engine.configuration import (
    Method,
    check_at_least,
    check_choice,
    check_fraction,
    check_positive,
    parse_size,
)
from talos_engine.errors import OptionError
from talos_engine.masking.spec import MASK_RULES
from talos_engine.merging.spec import MERGE_METHODS

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Options:
    top_share: float = 0.2
    rounds: int = 3

    def __post_init__(self) -> None:
        check_fraction("top-share", self.top_share)


METHOD = Method("example", "no paper", Options, lambda config: config)


def test_given_values_replace_defaults_and_none_means_not_given() -> None:
    assert METHOD.configure({"top_share": 0.5, "rounds": None}) == Options(0.5, 3)
    assert METHOD.configure({}) == Options()


def test_falsy_values_count_as_given() -> None:
    assert METHOD.configure({"top_share": 0.0, "rounds": 0}) == Options(0.0, 0)


def test_an_option_of_another_method_is_refused_with_the_own_ones_listed() -> None:
    with pytest.raises(OptionError) as caught:
        METHOD.configure({"soft_mask": 0.1})
    assert caught.value.message == "--soft-mask is not an option of method 'example'"
    assert caught.value.hint == "its options: --rounds, --top-share"


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match="top-share"):
        METHOD.configure({"top_share": 1.5})


@pytest.mark.parametrize("option", ["rounds", "batches", "fisher", "soft_mask", "score"])
def test_talos_options_do_not_go_with_the_random_mask(option: str) -> None:
    with pytest.raises(OptionError, match="it has none"):
        MASK_RULES.get("random").configure({option: 1})


def test_the_sum_takes_no_option() -> None:
    with pytest.raises(OptionError, match="--ties-density is not an option of method 'sum'"):
        MERGE_METHODS.get("sum").configure({"ties_density": 0.2})


@pytest.mark.parametrize(
    "given",
    [
        {"rounds": 0},
        {"batches": 0},
        {"batch_size": 0},
        {"mc_samples": 0},
        {"fisher": "exact"},
        {"score": "cube"},
        {"soft_mask": -0.1},
        {"soft_mask": 1.1},
        {"soft_mask": NAN},
    ],
    ids=str,
)
def test_talos_options_have_ranges(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(given)).replace("_", "-")):
        MASK_RULES.get("talos").configure(given)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda v: check_fraction("x", v), [0, 0.5, 1, 1.0], [-1e-9, 1 + 1e-9, NAN, INF, -INF]),
        (lambda v: check_fraction("x", v, below_one=True), [0, 0.999999], [1, 1.0, -0.1, NAN]),
        (lambda v: check_at_least("x", v, 2), [2, 3.5, 1e300], [1.999, -5, NAN, INF]),
        (lambda v: check_positive("x", v), [1e-300, 1], [0, -1, NAN, INF]),
        (lambda v: check_choice("x", v, ("a", "b")), ["a", "b"], ["", "A", "c"]),
    ],
    ids=["fraction", "fraction below one", "at least", "positive", "choice"],
)
def test_ranges(check: Callable[[Any], None], good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check(value)
    for value in bad:
        with pytest.raises(OptionError, match="--x must"):
            check(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("500mb", 500_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("4k", 4000),
        ("12", 12),
        ("1TB", 10**12),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("max-shard-size", text) == size


@pytest.mark.parametrize("text", ["", "0", "0.4", "-1GB", "GB", "5 potatoes", "1iB", "1e9", "nan"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OptionError, match=r"--max-shard-size must be a size above 0") as caught:
        parse_size("max-shard-size", text)
    assert "500MB" in caught.value.hint
