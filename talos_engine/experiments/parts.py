"""The words and files of one step, from its table and the values of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from talos_engine.errors import RecipeError
from talos_engine.experiments.commands import CHOOSE, COMMANDS
from talos_engine.experiments.recipe import StepTable
from talos_engine.experiments.steps import Choice, ChosenWord, ExternalWord, Step, Word
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
        self.outputs["out"] = f"{self.stem}{self.table.suffix or shape.suffix}"
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
        elif set(table) == {"chosen"}:
            self._put(flag, self._chosen(table["chosen"], where))
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
                f"or {{ chosen = STEP }}, not {dict(table)!r}"
            )

    def _put(self, flag: str, *words: Word) -> None:
        self.words += [flag, *words] if flag else words

    def _read(self, step: Step, path: str) -> None:
        self.inputs[path] = step.variables
        self.needs.add(step.id)

    def _chosen(self, group: str, where: str) -> ChosenWord:
        found = self.refer({"step": group}, self.variables, where)
        (step, path), *more = found
        if more or step.choice is None:
            raise RecipeError(f"{where}: chosen must name one step whose command is choose")
        self._read(step, path)
        example = step.choice.reports[0][1][step.choice.variable]
        return ChosenWord(path, format_value(example))

    def _choice(self) -> Choice:
        where = f"{self.table.where} options"
        given = dict(self.table.options)
        if given.keys() != {"variable", "from"} or self.table.arguments:
            raise RecipeError(f"{where}: choose takes variable and from, and no arguments")
        references: Sequence[Any] = (
            given["from"] if isinstance(given["from"], list) else [given["from"]]
        )
        reports = []
        for reference in references:
            if not isinstance(reference, dict) or "step" not in reference:
                raise RecipeError(f"{where}: from must name steps, as {{ step = … }}")
            for step, path in self.refer(reference, self.variables, where):
                if given["variable"] not in step.variables:
                    raise RecipeError(f"{where}: {step.group!r} has no variable to choose from")
                self._read(step, path)
                reports.append((path, step.variables))
        if not reports:
            raise RecipeError(f"{where}: there is nothing to choose from")
        self.words += ["--variable", str(given["variable"]), *(path for path, _ in reports)]
        return Choice(given["variable"], tuple(reports))
