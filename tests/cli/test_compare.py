"""``talos compare`` as people and scripts see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_equal_files(talos: Callable[..., Any], toy_files: Any) -> None:
    sparse, dense = (toy_files.vector("a", "talos", how) for how in ("always", "never"))
    done = talos("compare", sparse, dense)
    assert (done.code, done.out, done.err) == (0, "equal, bit for bit\n", "")
    told = json.loads(talos("compare", sparse, dense, "--json").out)
    assert (told["kind"], told["equal"], told["same_base"]) == ("vector", True, True)


def test_different_files(talos: Callable[..., Any], toy_files: Any) -> None:
    one, two = toy_files.checkpoint("a"), toy_files.checkpoint("b")
    done = talos("compare", one, two)
    assert done.code == 0, "a difference is a result, not a failure"
    assert done.out.startswith("different: ")
    assert "visual." in done.err
    assert talos("compare", one, two, "--quiet").err == ""
    told = json.loads(talos("compare", one, two, "--json").out)
    assert told["equal"] is False
    assert told["max_abs_difference"] > 0
    differing = {name for name, each in told["tensors"].items() if not each["equal"]}
    assert f"{len(differing)} of {len(told['tensors'])} tensors" in done.out


def test_what_cannot_be_compared(talos: Callable[..., Any], toy_files: Any) -> None:
    done = talos("compare", toy_files.checkpoint("a"), toy_files.mask("a"))
    assert (done.code, done.out) == (1, "")
    assert "of kind mask" in done.plain_err
