"""The words and files of one step, from its table and the values of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from talos_engine.errors import RecipeError
from talos_engine.experiments.commands import CHOOSE, COMMANDS
from talos_engine.experiments.recipe import StepTable
from talos_engine.experiments.steps import Choice, ChosenWord, ExternalWord, Step, Take, Word
from talos_engine.experiments.template import fill, format_value

Refer: TypeAlias = "Callable[[Mapping[str, Any], Mapping[str, Any], str], list[tuple[Step, str]]]"


class StepParts:
    """The words and files of one step, gathered value by value.

    Args:
        table: What the recipe says of its group.
        variables: Values of its variables.
        settings: The recipe's.
        common: Options of every step that runs a model, where its table does not have them.
        stem: Path of its outputs, up to their endings.
        refer: Finds the steps that a reference means, with the path of the output it names.
    """

    def __init__(
        self,
        table: StepTable,
        variables: Mapping[str, Any],
        settings: Mapping[str, Any],
        common: Mapping[str, Any],
        stem: str,
        refer: Refer,
    ) -> None:
        self.table = table
        self.variables = variables
        self.stem = stem
        self.names = {**settings, **variables}
        self.common = common
        self.refer = refer
        self.words: list[Word] = []
        self.inputs: dict[str, Mapping[str, Any]] = {}
        self.needs: set[str] = set()
        self.outputs: dict[str, str] = {}

    def step(self, identifier: str) -> Step:
        """The step.

        Raises:
            RecipeError: an argument or option cannot be meant.
        """
        shape = COMMANDS[self.table.command]
        suffix = fill(self.table.suffix, self.names, f"{self.table.where} suffix")
        self.outputs["out"] = f"{self.stem}{suffix or shape.suffix}"
        choice = None
        if self.table.command == CHOOSE:
            choice = self._choice()
        else:
            for argument in self.table.arguments:
                self._add("", argument, f"{self.table.where} arguments")
            for key, value in self.table.options.items():
                where = f"{self.table.where} options: {key}"
                name = format_value(fill(key, self.names, where))
                self._add(f"--{name}", value, where)
            for name, (suffix, option) in shape.companions.items():
                if f"--{option}" in self.words:
                    self.outputs[name] = f"{self.stem}{suffix}"
            if shape.computes:
                for name, value in self.common.items():
                    if name not in self.table.options:
                        self._add(f"--{name}", value, f"{self.table.source}: [common] {name}")
            self.words += ["--out", self.outputs["out"]]
        return Step(
            id=identifier,
            group=self.table.name,
            stem=self.stem,
            variables=self.variables,
            command=self.table.command,
            words=tuple(self.words),
            inputs=self.inputs,
            outputs=self.outputs,
            needs=frozenset(self.needs),
            exclusive=self.table.exclusive,
            choice=choice,
        )

    def _add(self, flag: str, value: Any, where: str) -> None:
        """Add an option with its value, or an argument where ``flag`` is empty."""
        if isinstance(value, dict):
            self._add_table(flag, value, where)
            return
        value = fill(value, self.names, where)
        if value is False:
            return
        if value is True:
            self.words.append(flag)
            return
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and isinstance(value, list):
                self._add_table(flag, item, where)
                continue
            for word in item if isinstance(item, list) else [item]:  # a list setting in a list
                if isinstance(word, (dict, list)):
                    raise RecipeError(f"{where}: {word!r} is no single value")
                self._put(flag, format_value(word))

    def _add_table(self, flag: str, table: Mapping[str, Any], where: str) -> None:
        own = {**self.variables}
        if "step" in table:
            then = [format_value(it) for it in fill(table.get("then", []), self.names, where)]
            for step, path in self.refer(table, own, where):
                self._read(step, path)
                self._put(flag, path, *then)
        elif "chosen" in table:
            for word in self._chosen(table, where):
                self._put(flag, word)
        elif set(table) <= {"file", "then"} and "file" in table:
            then = [format_value(it) for it in fill(table.get("then", []), self.names, where)]
            given = Path(format_value(fill(table["file"], self.names, where))).expanduser()
            absolute = (self.table.source.parent / given).resolve()
            if not absolute.exists():
                raise RecipeError(f"{where}: there is no {absolute}")
            self._put(flag, ExternalWord(str(absolute)), *then)
        elif set(table) == {"output"}:
            name = flag.removeprefix("--")
            self.outputs[name] = f"{self.stem}{table['output']}"
            self._put(flag, self.outputs[name])
        else:
            raise RecipeError(
                f"{where}: a table must be {{ step = … }}, {{ file = … }}, {{ output = ENDING }} "
                f"or {{ chosen = STEP, … }}, not {dict(table)!r}"
            )

    def _put(self, flag: str, *words: Word) -> None:
        self.words += [flag, *words] if flag else words

    def _read(self, step: Step, path: str) -> None:
        self.inputs[path] = step.variables
        self.needs.add(step.id)

    def _chosen(self, table: Mapping[str, Any], where: str) -> list[ChosenWord]:
        """What the steps chose that a table means: one word for each, in their order."""
        reference = {name: value for name, value in table.items() if name != "chosen"}
        if reference.keys() & {"step", "output", "then"}:
            raise RecipeError(f"{where}: chosen goes with where, all, others, only and optional")
        found = self.refer({"step": table["chosen"], **reference}, self.variables, where)
        words = []
        for step, path in found:
            if step.choice is None:
                raise RecipeError(f"{where}: chosen must name a step whose command is choose")
            self._read(step, path)
            example = step.choice.reports[0][1][step.choice.variable]
            words.append(ChosenWord(path, format_value(example)))
        return words

    def _choice(self) -> Choice:
        where = f"{self.table.where} options"
        given = dict(self.table.options)
        takes = given.pop("take", {})
        if given.keys() != {"variable", "from"} or self.table.arguments:
            raise RecipeError(
                f"{where}: choose takes variable, from and, if need be, take; no arguments"
            )
        references: Sequence[Any] = (
            given["from"] if isinstance(given["from"], list) else [given["from"]]
        )
        variable = str(given["variable"])
        reports = []
        for reference in references:
            reports += self._candidates(reference, variable, f"{where}: from")
        if not reports:
            raise RecipeError(f"{where}: there is nothing to choose from")
        if not isinstance(takes, dict):
            raise RecipeError(f"{where}: take must be a table of names and steps")
        self.words += ["--variable", variable, *(path for path, _, _ in reports)]
        chosen = tuple((path, step.variables) for path, step, _ in reports)
        values = {format_value(variables[variable]) for _, variables in chosen}
        return Choice(
            variable,
            chosen,
            tuple(
                self._take(name, reference, variable, values, f"{where}: take {name}")
                for name, reference in takes.items()
            ),
        )

    def _candidates(self, reference: Any, variable: str, where: str) -> list[tuple[str, Step, str]]:
        """Path, step and ending of the files that a reference of ``choose`` means."""
        if not isinstance(reference, dict) or "step" not in reference:
            raise RecipeError(f"{where} must name steps, as {{ step = … }}")
        found = []
        for step, path in self.refer(reference, self.variables, where):
            if variable not in step.variables:
                raise RecipeError(f"{where}: {step.group!r} has no variable {variable!r}")
            self._read(step, path)
            found.append((path, step, path.removeprefix(step.stem)))
        return found

    def _take(self, name: str, reference: Any, variable: str, values: set[str], where: str) -> Take:
        """What is copied from the step whose value wins; every value must have one."""
        candidates = self._candidates(reference, variable, where)
        told = [format_value(step.variables[variable]) for _, step, _ in candidates]
        if len(set(told)) < len(told) or set(told) != values:
            raise RecipeError(
                f"{where}: there must be one file for each value that is compared, "
                f"{', '.join(sorted(values))}; there are {', '.join(sorted(told)) or 'none'}"
            )
        ending = candidates[0][2]
        out = self.stem + (ending if ending.startswith(f".{name}.") else f".{name}{ending}")
        self.outputs[name] = out
        self.words += [f"--{name}", *(path for path, _, _ in candidates)]
        return Take(out, tuple((path, step.variables) for path, step, _ in candidates))
