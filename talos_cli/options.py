"""Options that commands share, their checks and completions, and the decorator that adds them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import typer

from talos_cli.data_options import DATA_OPTIONS, DataOptions, common_option, using_data
from talos_cli.errors import reported
from talos_cli.render import Terminal
from talos_cli.settings import load_settings
from talos_engine.data.names import task_names
from talos_engine.registry import list_names

if TYPE_CHECKING:
    from talos_engine.workflows.opening import Common

MASK_RULES = list_names("talos_engine.masking.rules")
FINETUNE_METHODS = list_names("talos_engine.training.methods")
GRIDS = ("paper", "plain", "union")

Check = Callable[[Any], Any]


def one_of(what: str, names: tuple[str, ...]) -> Check:
    """Callback that accepts only ``names``; the message lists them."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            raise typer.BadParameter(f"no {what} named {value!r}; known: {', '.join(names)}")
        return value

    return check


def png(path: Path | None) -> Path | None:
    """Callback that refuses a picture of another format."""
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"{path} does not end in .png, and pictures are PNG")
    return path


def complete(package: str) -> Callable[[str], list[str]]:
    """Shell completion from the names of a registry."""

    def names(incomplete: str) -> list[str]:
        return [name for name in list_names(package) if name.startswith(incomplete)]

    return names


def complete_tasks(incomplete: str) -> list[str]:
    """Shell completion from the names of tasks."""
    return [name for name in task_names() if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Shell completion from the catalog and, once something is typed, open_clip's architectures."""
    from talos_engine.models.names import T5_NAMES, architecture_names

    names = [
        *list_names("talos_engine.models.catalog"),
        *T5_NAMES,
        *(architecture_names() if incomplete else ()),
    ]
    return [name for name in names if name.startswith(incomplete)]


_MODEL_HELP = (
    "Model: tiny-clip, tiny-t5, an architecture of open_clip such as ViT-B-32, hf-hub:OWNER/NAME, "
    "t5-small, a hub id of a T5 or CLIP, a folder of open_clip or save_pretrained, or a checkpoint "
    "made by talos."
)
Model = Annotated[
    str, typer.Option("--model", "-m", help=_MODEL_HELP, autocompletion=complete_models)
]
BaseModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"{_MODEL_HELP} Left out: the base that the files record.",
        autocompletion=complete_models,
    ),
]
TaskName = Annotated[
    str, typer.Option("--task", "-t", help="Task; see talos tasks.", autocompletion=complete_tasks)
]
Grid = Annotated[
    str | None,
    typer.Option(
        help="Coefficients to search: plain 0…1, paper (stretched by 1/(1−sparsity)), or both.",
        metavar="|".join(GRIDS),
        callback=one_of("grid", GRIDS),
        show_default="union",
    ),
]


@dataclass(frozen=True)
class Shared:
    """The options that every command takes, as parsed.

    Attributes:
        terminal: Where to write.
    """

    quiet: bool
    as_json: bool
    debug: bool
    force: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"
    threads: int = 0
    dry_run: bool = False
    data: DataOptions = field(default_factory=DataOptions)
    pretrained: str | None = None

    @property
    def terminal(self) -> Terminal:
        """Where the command writes."""
        return Terminal(quiet=self.quiet, as_json=self.as_json)

    def common(self) -> Common:
        """The same, as the engine takes it."""
        from talos_engine.workflows.opening import Common

        return Common(self.seed, self.device, self.dtype, self.threads, self.force, self.pretrained)


_EVERYWHERE: dict[str, tuple[Any, Any]] = {
    "force": (bool, common_option("--force", help="Overwrite an existing output.")),
    "quiet": (bool, common_option("--quiet", "-q", help="No progress, tables or notes.")),
    "as_json": (bool, common_option("--json", help="Write the result as one JSON object.")),
    "debug": (bool, common_option("--debug", help="Show the traceback of an error.")),
}
_COMPUTING: dict[str, tuple[Any, Any, Any]] = {
    "seed": (int, 0, common_option("--seed", help="Key of everything random.")),
    "device": (str, "auto", common_option("--device", help="auto, cpu, cuda, cuda:N or mps.")),
    "dtype": (str, "float32", common_option("--dtype", help="float32, or bfloat16 autocast.")),
    "threads": (int, 0, common_option("--threads", help="CPU threads; 0: torch decides.")),
}
_PRETRAINED = typer.Option(
    "--pretrained",
    metavar="TAG|FILE|TAG=FILE",
    help="Weights of an open_clip architecture: a tag, a safetensors or .pt file, or a file that "
    "holds a tag's weights.",
    show_default="openai",
)
_DRY_RUN = common_option("--dry-run", help="Check the inputs, say what would be done, and stop.")
_CONFIG = Annotated[
    Path | None,
    common_option(
        "--config",
        help="TOML file with options of this command; flags win.",
        is_eager=True,
        callback=load_settings,
    ),
]

Chosen: TypeAlias = Mapping[str, Any]
"""Options of a method by name, ``None`` where one was not given; see ``command``."""


def command(
    *,
    computes: bool = True,
    precision: bool = True,
    draws: bool = True,
    writes: bool = True,
    data: Sequence[str] = (),
    method_options: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator that gives a command the shared options and reports its errors.

    The decorated function takes them as one keyword argument ``shared``.

    Args:
        computes: Whether the command runs a model, and so takes seed, device, dtype, threads,
            dry-run, and what concerns data.
        precision: Whether dtype is among them.
        draws: Whether seed is among them.
        writes: Whether it writes files, and so takes force.
        data: Options that concern data which it takes though it computes nothing.
        method_options: Annotated types by name of the options that single methods take; the
            function gets them as one mapping ``method_options``, ``None`` being not given.
    """
    chosen = method_options or {}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        added = {
            name: inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False,
                annotation=Annotated[kind, info],
            )
            for name, (kind, info) in _EVERYWHERE.items()
            if writes or name != "force"
        }
        if "model" in own:
            added["pretrained"] = inspect.Parameter(
                "pretrained",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[str | None, _PRETRAINED],
            )
        wanted = (*_COMPUTING.items(), *DATA_OPTIONS.items()) if computes else ()
        for name, (kind, default, info) in (
            *wanted,
            *((each, DATA_OPTIONS[each]) for each in data),
        ):
            if (name == "dtype" and not precision) or (name == "seed" and not draws):
                continue
            added[name] = inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=Annotated[kind, info],
            )
        if computes:
            added["dry_run"] = inspect.Parameter(
                "dry_run",
                inspect.Parameter.KEYWORD_ONLY,
                default=False,
                annotation=Annotated[bool, _DRY_RUN],
            )
        config = inspect.Parameter(
            "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG
        )

        @functools.wraps(function)
        def run(**values: Any) -> None:
            values.pop("config")
            told = {name: values.pop(name) for name in added if name in DATA_OPTIONS}
            rest = {name: values.pop(name) for name in added if name not in DATA_OPTIONS}
            shared = Shared(**rest, data=DataOptions(**told))
            if chosen:
                given = {name: values.pop(name) for name in chosen}
                values["method_options"] = {
                    name: None if value is False or value == [] else value
                    for name, value in given.items()
                }
            with reported(debug=shared.debug), using_data(shared.data, shared.terminal, values):
                function(**values, shared=shared)

        parameters = []
        for parameter in own.values():
            if parameter.name == "method_options":
                parameters += [
                    inspect.Parameter(
                        name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=False if get_args(kind)[0] is bool else None,
                        annotation=kind,
                    )
                    for name, kind in chosen.items()
                ]
            elif parameter.name != "shared":
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        everything = [*parameters, *added.values(), config]
        run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in everything}
        del run.__wrapped__
        return run

    return decorate
