"""What a run would do: which steps are done, which are to run, and how long that may take."""

from __future__ import annotations

import fnmatch
import statistics
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from talos_engine.errors import RecipeError
from talos_engine.experiments.states import StateFolder
from talos_engine.experiments.steps import Step


@dataclass(frozen=True)
class GroupPlan:
    """What is to do in one group of steps.

    Args:
        name: The group.
        total: Its steps.
        done: Those that would be skipped.
        seconds: Expected for the others, as far as it is known.
        unknown: Those of the others of which nothing is known.
        guessed: Those of the others whose seconds are those of other groups' steps of the same
            command: no more than the order of size.
    """

    name: str
    total: int
    done: int
    seconds: float
    unknown: int
    guessed: int = 0


@dataclass(frozen=True)
class RunPlan:
    """What is to do.

    Args:
        steps: All that take part, by id, in an order in which they can run.
        done: Ids of those that would be skipped.
        groups: The same by group.
    """

    steps: Mapping[str, Step]
    done: frozenset[str]
    groups: tuple[GroupPlan, ...]

    def estimate(self, jobs: int) -> tuple[float, int]:
        """Seconds that the known steps take with so many jobs, and the number of unknown ones.

        Jobs are taken to be always busy, so it is a lower bound.
        """
        alone = sum(group.seconds for group in self.groups)
        return alone / jobs, sum(group.unknown for group in self.groups)

    @property
    def guessed(self) -> int:
        """Steps whose seconds are those of other steps of the same command."""
        return sum(group.guessed for group in self.groups)


def only(steps: Mapping[str, Step], patterns: Iterable[str]) -> dict[str, Step]:
    """The steps whose id or group fits a pattern, with all that they need.

    Raises:
        RecipeError: a pattern fits none.
    """
    wanted: set[str] = set()
    for pattern in patterns:
        fitting = {
            each.id
            for each in steps.values()
            if fnmatch.fnmatchcase(each.id, pattern) or fnmatch.fnmatchcase(each.group, pattern)
        }
        if not fitting:
            groups = ", ".join(dict.fromkeys(each.group for each in steps.values()))
            raise RecipeError(f"--only {pattern!r} fits no step", f"groups: {groups}")
        wanted |= fitting
    for each in reversed(list(steps.values())):  # what a step needs stands before it
        if each.id in wanted:
            wanted |= each.needs
    return {name: each for name, each in steps.items() if name in wanted}


def make_plan(steps: Mapping[str, Step], states: StateFolder) -> RunPlan:
    """Which of the steps are done, and what the others may cost.

    Where a step would run, so would those that need it; if it then makes the same bytes as before,
    they are skipped after all.
    """
    done = done_steps(steps, states)
    groups = dict.fromkeys(each.group for each in steps.values())
    by_command: dict[str, list[float]] = {}
    for each in steps.values():
        taken = _seconds(each, states)
        if taken is not None:
            by_command.setdefault(each.command, []).append(taken)
    rough = {command: statistics.fmean(taken) for command, taken in by_command.items()}
    plans = tuple(
        _plan_group(name, [it for it in steps.values() if it.group == name], done, states, rough)
        for name in groups
    )
    return RunPlan(steps, done, plans)


def done_steps(steps: Mapping[str, Step], states: StateFolder) -> frozenset[str]:
    """Ids of the steps that are done, as is all that they need.

    Args:
        steps: By id, what a step needs before it.
        states: Records of the run folder.
    """
    done: set[str] = set()
    for each in steps.values():
        if each.needs <= done and states.is_done(each):
            done.add(each.id)
    return frozenset(done)


def _plan_group(
    name: str,
    steps: list[Step],
    done: Set[str],
    states: StateFolder,
    rough: Mapping[str, float],
) -> GroupPlan:
    measured = {each.id: _seconds(each, states) for each in steps}
    known = [value for value in measured.values() if value is not None]
    usual = statistics.fmean(known) if known else None
    seconds, unknown, guessed = 0.0, 0, 0
    for each in steps:
        if each.id in done:
            continue
        expected = measured[each.id] if measured[each.id] is not None else usual
        if expected is None:
            expected = rough.get(each.command)
            guessed += expected is not None
        if expected is None:
            unknown += 1
        else:
            seconds += expected
    return GroupPlan(
        name, len(steps), sum(each.id in done for each in steps), seconds, unknown, guessed
    )


def _seconds(step: Step, states: StateFolder) -> float | None:
    found = states.get(step.id)
    return None if found is None else found.seconds
