"""Results of T5 recipes beside the paper's numbers for T5, from measurements to the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from talos_engine.experiments.paper import PaperTable
from talos_engine.experiments.result_spec import RESULTS, Given, Source
from tests.cli.test_report import parse, table_rows, text, write

TASKS = ("facts", "odd")


def evaluated(
    method: str, right: Mapping[str, int], task: str = "", made: str = "vector"
) -> Source:
    """What ``evaluate`` tells of one model, with 100 test examples of each task."""
    tasks = {
        name: {"accuracy": count / 100, "correct": count, "n": 100} for name, count in right.items()
    }
    own = {"method": method, "seed": 0} | ({"task": task} if task else {})
    result = {"input": {"path": made} if method else None, "tasks": tasks}
    return Source(f"{method}.{task}.json", own, {made: own}, {"results": [result]})


def result(
    kind: str,
    sources: Mapping[str, Sequence[Source]],
    paper: tuple[str, str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """``results/NAME.json`` as ``talos run`` writes it."""
    found = RESULTS.get(kind)
    config = found.check(sources, options, "here")
    return {
        **found.run(config, Given(sources, PaperTable(*paper))),
        "schema": 1, "name": kind, "title": kind, "caption": f"By {kind}.", "alt": kind,
        "variables": {}, "paper": {"table": paper[0], "model": paper[1]} if paper[0] else None,
        "sources": [],
    }  # fmt: skip


def plain(cells: list[str]) -> list[str]:
    """Cells without the mark of the best of a column."""
    return [cell.rstrip("★") for cell in cells]


@pytest.mark.parametrize(
    ("model", "absolute", "normalized", "target", "kept", "base"),
    [
        ("t5-small", "65.04", "97.22", "39.64", "45.67", "55.70"),
        ("t5-base", "75.93", "95.87", "38.49", "45.28", "53.51"),
        ("t5-large", "79.07", "90.61", "37.20", "45.70", "51.71"),
    ],
)
def test_tables_1_and_2(
    talos: Callable[..., Any],
    run_folder: Any,
    model: str,
    absolute: str,
    normalized: str,
    target: str,
    kept: str,
    base: str,
) -> None:
    zero = evaluated("", {"facts": 40, "odd": 60, "entailment": 50})
    made = run_folder.results["table1"]["made"]
    run_folder.results = {
        "task-addition": result(
            "addition",
            {
                "merged": [evaluated("talos", {"facts": 60, "odd": 70})],
                "single": [
                    evaluated("talos", {"facts": 80, "odd": 20}, "facts", "a"),
                    evaluated("talos", {"facts": 20, "odd": 70}, "odd", "b"),
                ],
                "zero-shot": [zero],
            },
            ("task_addition", model),
            {},
        ),
        "task-negation": result(
            "negation",
            {
                "negated": [
                    evaluated("talos", {task: 30, "entailment": 48}, task) for task in TASKS
                ],
                "zero-shot": [zero],
            },
            ("task_negation", model),
            {"control": "entailment"},
        ),
    }
    for each in run_folder.results.values():
        each["made"] = made
    page = parse(write(talos, run_folder.write()))
    groups, headings, first, row = table_rows(page, "By addition")
    assert groups == ["", "here: tiny-clip", f"paper: {model}"]
    shown = dict(zip(headings[-2:], plain(row[-2:]), strict=True))
    assert shown == {"absolute, % ↑": absolute, "normalized, % ↑": normalized}
    assert row[0] == "talos"
    assert any(cell.startswith("87.5") for cell in row), "(60/80 + 70/70) / 2"
    assert base in " ".join(first)
    groups, headings, first, row = table_rows(page, "By negation")
    assert groups[-1] == f"paper: {model}"
    assert headings[-1] == "control (entailment), % ↑"
    assert plain(row[-2:]) == [target, kept]
    assert base in " ".join(first)


def test_table_3_and_the_choices(talos: Callable[..., Any], run_folder: Any) -> None:
    profile = {
        "methods": [
            {
                "method": "talos",
                "forward_backward": {"mean": 0.25},
                "optimizer": {"mean": 0.05},
                "total": {"mean": 0.3},
                "peak_bytes": 2**30,
                "flops": 2_000_000_000,
                "efficiency": 0.5,
            }
        ]
    }
    chosen = Source(
        "choice.json", {"method": "ties", "task": "facts", "seed": 0}, {},
        {"command": "choose", "chosen": 0.2},
    )  # fmt: skip
    run_folder.results = {
        "cost": result(
            "cost", {"profiles": [Source("cost.json", {}, {}, profile)]}, ("cost", "t5-large"), {}
        ),
        "choices": result("choices", {"choices": [chosen]}, ("", ""), {}),
    }
    page = parse(write(talos, run_folder.write()))
    groups, _, row = table_rows(page, "By cost")
    assert groups[-1] == "paper: t5-large"
    assert plain(row[-4:]) == ["0.436", "0.0509", "0.487", "12.1"]
    assert table_rows(page, "By choices")[-1][:2] == ["ties", "0.200"]
    assert "t5-large" in text(page)
