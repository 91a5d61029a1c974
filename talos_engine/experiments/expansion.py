"""From a recipe to the steps that are to be run: those it declares itself and what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from talos_engine.errors import RecipeError
from talos_engine.experiments.commands import COMMANDS, RESERVED
from talos_engine.experiments.matrix import applies, check_reference, combinations, label, select
from talos_engine.experiments.misfits import describe_misfit
from talos_engine.experiments.parts import StepParts
from talos_engine.experiments.recipe import Recipe, ResultTable, StepTable
from talos_engine.experiments.steps import Step
from talos_engine.experiments.template import fill
from talos_engine.registry import unknown_name


@dataclass(frozen=True)
class SourceFile:
    """A file that a result reads.

    Args:
        path: Relative to the run folder.
        step: The step that makes it.
    """

    path: str
    step: Step


@dataclass(frozen=True)
class ResultPlan:
    """A result to compute.

    Args:
        name: Its name, with the values of its variables.
        table: What the recipe says.
        variables: Values of its variables.
        sources: Files by role.
    """

    name: str
    table: ResultTable
    variables: Mapping[str, Any]
    sources: Mapping[str, tuple[SourceFile, ...]]


@dataclass(frozen=True)
class Expansion:
    """Everything that a recipe asks for.

    Args:
        steps: By id; what a step needs comes before it.
        results: In the order declared.
    """

    steps: Mapping[str, Step]
    results: tuple[ResultPlan, ...]


def expand(recipe: Recipe) -> Expansion:
    """The steps and results of a recipe.

    Steps of included files are there where a result or another step needs them.

    Raises:
        RecipeError: a reference leads nowhere or in a circle, or a name means nothing.
    """
    builder = _Builder(recipe)
    for name, table in recipe.steps.items():
        builder.check_table(table)
        if name in recipe.own:
            for number in range(len(builder.combinations[name])):
                builder.build(name, number)
    results = tuple(
        plan for table in recipe.results.values() for plan in builder.plan_results(table)
    )
    return Expansion(builder.steps, results)


class _Builder:
    """Builds steps on demand, each once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.settings = recipe.settings
        self.steps: dict[str, Step] = {}
        self.combinations: dict[str, list[dict[str, Any]]] = {
            name: list(combinations(table.each, table.left_out, self.settings, table.where))
            for name, table in recipe.steps.items()
        }
        self._building: list[str] = []

    def check_table(self, table: StepTable) -> None:
        """Raise unless the command exists and the table sets nothing that is not its to set."""
        if table.command not in COMMANDS:
            error = unknown_name("command for a step", table.command, sorted(COMMANDS))
            raise RecipeError(f"{table.where}: {error.message}", error.hint)
        for name in table.options:
            if name in RESERVED:
                raise RecipeError(f"{table.where} options: {name} is set by talos run itself")

    def build(self, group: str, number: int) -> Step:
        """The step of a group with the given combination of variables."""
        variables = self.combinations[group][number]
        path = label(variables)
        identifier = f"{group}.{path}" if path else group
        if identifier in self._building:
            circle = [*self._building[self._building.index(identifier) :], identifier]
            raise RecipeError(
                f"{self.recipe.steps[group].where}: steps need each other in a circle: "
                f"{' → '.join(circle)}"
            )
        if identifier in self.steps:
            found = self.steps[identifier]
            if found.group != group or found.variables != variables:
                raise RecipeError(
                    f"{self.recipe.steps[group].where}: two steps would be called {identifier!r}"
                )
            return found
        self._building.append(identifier)
        table = self.recipe.steps[group]
        stem = f"artifacts/{group}/{path or group}"
        refer = partial(self.refer, table.each)
        parts = StepParts(table, variables, self.settings, self.recipe.common, stem, refer)
        step = parts.step(identifier)
        self._building.pop()
        self.steps[identifier] = step
        return step

    def refer(
        self,
        each: Mapping[str, Any],
        reference: Mapping[str, Any],
        own: Mapping[str, Any],
        where: str,
    ) -> list[tuple[Step, str]]:
        """The steps that a reference means, each with the path of the output it names.

        Args:
            each: The templates of the variables of the one who refers.
            reference: As the recipe has it.
            own: Variables of the one who refers.
            where: Who refers, for messages.
        """
        check_reference(reference, where)
        group = reference["step"]
        if group not in self.recipe.steps:
            error = unknown_name("step", group, sorted(self.recipe.steps))
            raise RecipeError(f"{where}: {error.message}", error.hint)
        table, candidates = self.recipe.steps[group], self.combinations[group]
        names = {**self.settings, **own}
        if not applies(reference, own, names, where):
            return []
        chosen = select(reference, candidates, list(table.each), own, names, where)
        if not chosen and not reference.get("optional", False):
            message, hint = describe_misfit(
                reference, candidates, table.each, own, each, self.settings, where
            )
            raise RecipeError(f"{where}: {message}", hint)
        output = reference.get("output", "out")
        found = []
        for number in chosen:
            step = self.build(group, number)
            if output not in step.outputs:
                raise RecipeError(
                    f"{where}: the step {group!r} has no output {output!r}",
                    f"its outputs: {', '.join(step.outputs)}",
                )
            found.append((step, step.outputs[output]))
        return found

    def plan_results(self, table: ResultTable) -> list[ResultPlan]:
        """A result for each combination of the table's variables."""
        plans = []
        for variables in combinations(table.each, (), self.settings, table.where):
            names = {**self.settings, **variables}
            sources = {}
            for role, references in table.sources.items():
                where = f"{table.where} sources {role}"
                found = [
                    SourceFile(path, step)
                    for reference in references
                    for step, path in self.refer(table.each, reference, variables, where)
                ]
                sources[role] = tuple(found)
            told = fill(
                {
                    "title": table.title,
                    "caption": table.caption,
                    "options": dict(table.options),
                    "paper": dict(table.paper),
                },
                names,
                table.where,
            )
            filled = ResultTable(
                table.name, table.source, table.kind, each=table.each, sources=table.sources, **told
            )
            name = f"{table.name}.{label(variables)}" if variables else table.name
            plans.append(ResultPlan(name, filled, variables, sources))
        return plans
