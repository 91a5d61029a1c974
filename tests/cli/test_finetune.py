"""``talos finetune``: what it tells about early stopping, resuming and its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FINETUNE = ("finetune", "--model", "toy-clip", "--task", "toy-a", "--method", "nonlinear")


def test_it_says_which_state_was_written_and_when_it_stopped(talos: Callable[..., Any]) -> None:
    done = talos(
        *FINETUNE, "--steps", 60, "--lr", 0.1, "--early-stop", 2, "--validate-every", 2, "--json"
    )
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["stopped_early"]
    assert facts["steps"] == facts["best_step"] + 4 < 60
    assert f"wrote the state of step {facts['best_step']}, the best on validation" in done.plain_err
    assert f"stopped at step {facts['steps']}: 2 measurements without a better" in done.plain_err


def test_a_run_that_reaches_its_last_step_did_not_stop(talos: Callable[..., Any]) -> None:
    done = talos(*FINETUNE, "--early-stop", 99, "--json")
    assert not json.loads(done.out)["stopped_early"]
    assert "stopped" not in done.plain_err
    assert "best_step" not in json.loads(talos(*FINETUNE, "--json", "--force").out)


def test_patience_that_runs_out_with_the_last_step_stopped_nothing(
    talos: Callable[..., Any],
) -> None:
    options = ("--lr", 0.1, "--early-stop", 2, "--validate-every", 2, "--schedule", "constant")
    options += ("--warmup", 0)  # the same steps however many there are
    early = json.loads(talos(*FINETUNE, "--steps", 60, *options, "--json").out)
    assert early["stopped_early"]
    last = early["best_step"] + 4
    done = talos(*FINETUNE, "--steps", last, *options, "--json", "--force")
    facts = json.loads(done.out)
    assert (facts["steps"], facts["best_step"]) == (last, early["best_step"])
    assert not facts["stopped_early"]
    assert "stopped" not in done.plain_err


def test_the_log_is_one_object_per_line(talos: Callable[..., Any], tmp_path: Path) -> None:
    done = talos(*FINETUNE, "--log", "log.jsonl", "--grad-accum", 2, "--label-smoothing", 0.1)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert set(lines[0]) == {"step", "loss", "lr", "step_s", "examples", "time"}
    assert lines[0]["examples"] == 32


def test_resume_says_where_it_starts(talos: Callable[..., Any]) -> None:
    done = talos(*FINETUNE, "--resume", "--json")
    assert done.code == 0, done.err
    assert "no interrupted run" in done.plain_err
    assert json.loads(done.out)["resumed_at"] == 0


def test_a_plan_counts_the_state_that_is_kept(talos: Callable[..., Any]) -> None:
    plain, kept = (
        json.loads(talos(*FINETUNE, "--dry-run", "--json", *more).out)
        for more in ((), ("--checkpoint-every", 5))
    )
    # two states beside each other for a moment, of a value, two moments and a best value each
    assert kept["disk_bytes"] - plain["disk_bytes"] == 2 * 4 * 4 * plain["trained_entries"]
