"""From the name of a task to the task: embedded, of the catalog, declared, or given by its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from talos_engine.data.declaration import Declaration, read_catalog, read_declaration
from talos_engine.data.image_task import ImageDeclaration
from talos_engine.data.names import catalog_names, task_names
from talos_engine.data.settings import DataRun, current_data
from talos_engine.data.source import Source, detect_source
from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS, TaskSpec
from talos_engine.data.text_task import plain_texts
from talos_engine.errors import DataError, OptionError, UnknownNameError
from talos_engine.registry import unknown_name


def find_task(name: str, *, needs_data: bool = True) -> TaskSpec:
    """The task called ``name``; its data can be had.

    Data given for the run (``DataSettings.path`` and ``paths``) take the place of the task's own
    source; with them a name that nobody declares will do, its classes being those of the data.

    Args:
        name: Name of the task.
        needs_data: Whether it matters that the data can be had.

    Raises:
        UnknownNameError: there is no such task.
        DataError: its data cannot be had, or a task file declares no sound task.
        OptionError: one nameless path is given, and this is the run's second task.
    """
    run = current_data()
    if ("task", name) not in run.known:
        run.known["task", name] = _make_task(name, run)
    spec: TaskSpec = run.known["task", name]
    if not needs_data:
        return spec
    if spec.require is not None:
        spec.require()
    elif not spec.available():
        raise DataError(
            f"the data of task {name!r} is not on this machine", f"needed: {spec.description}"
        )
    return spec


def list_tasks() -> list[TaskSpec]:
    """All tasks that ship with the package, by name, then those that the run declares or gives.

    Data is only read where it must say what its classes are.

    Raises:
        DataError: a task file declares no sound task, or data cannot be read.
        OptionError: data is given without the name of a task.
    """
    run = current_data()
    if run.settings.path is not None:
        raise OptionError(
            f"--data {run.settings.path} names no task", f"say --data TASK={run.settings.path}"
        )
    embedded, given = set(EMBEDDED_TASKS.names()), run.settings.paths
    shipped = [
        find_task(name, needs_data=False)
        if name in given
        else EMBEDDED_TASKS.get(name)
        if name in embedded
        else read_catalog(name).spec()
        for name in task_names()
    ]
    own = dict.fromkeys((*declared_tasks(run), *given))
    return [
        *shipped,
        *(find_task(name, needs_data=False) for name in own if name not in task_names()),
    ]


def _make_task(name: str, run: DataRun) -> TaskSpec:
    declared = declared_tasks(run)
    path = run.path_of(name)
    if name in declared:
        found = declared[name]
        return (_with_data(found, path) if path is not None else found).spec()
    if name in catalog_names():
        found = read_catalog(name)
        return (_with_data(found, path) if path is not None else found).spec()
    try:
        embedded = EMBEDDED_TASKS.get(name)
    except UnknownNameError:
        if path is None:
            raise unknown_name("task", name, [*task_names(), *declared]) from None
        return _declare(name, detect_source(path)).spec()
    if path is None:
        return embedded
    return _declare(name, detect_source(path), embedded).spec()


def _declare(name: str, source: Source, like: TaskSpec | None = None) -> Declaration:
    """The task in data without a declaration: texts if it has a column of them, else images.

    Args:
        name: Name of the task.
        source: Its data.
        like: The embedded task whose data they replace.
    """
    answers = like.class_names if like is not None and like.kind == TEXTS else ()
    texts = plain_texts(name, source, answers)
    if texts is not None:
        return texts if like is None else replace(texts, control=like.control)
    if like is None:
        return ImageDeclaration(name, source)
    return ImageDeclaration(
        name,
        source,
        class_names=like.class_names,
        templates=like.templates,
        control=like.control,
    )


def _with_data(declaration: Declaration, path: Path) -> Declaration:
    source = detect_source(path, declaration.source)
    return replace(declaration, source=source, description="", sizes={})


def declared_tasks(run: DataRun) -> dict[str, Declaration]:
    """The tasks of the run's task files by name.

    Raises:
        DataError: a file is not sound, or declares a name that is taken.
    """
    if "declared" not in run.known:
        found: dict[str, Declaration] = {}
        for path in run.settings.task_files:
            declaration = read_declaration(path)
            name = declaration.name
            if name in found or name in task_names():
                raise DataError(
                    f"task file {path} declares {name!r}, which is a task already",
                    f"choose another name, or use --data {name}=PATH",
                )
            found[name] = declaration
        run.known["declared"] = found
    declared: dict[str, Declaration] = run.known["declared"]
    return declared
