"""``--config FILE``: options of a command from TOML. A flag beats the file, the file a default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

_LIMIT = 1_000_000


def load_settings(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of ``--config``: make the file's values this command's defaults.

    Keys are long option names. They stand at the top of the file or in a table named like the
    command (``[mask.union]`` for ``talos mask union``, and ``[mask]`` for all of its kind); tables
    of other commands are passed over.

    Raises:
        typer.BadParameter: the file is not TOML, or has a key that the command does not know.
    """
    if path is None:
        return None
    given = _read(path)
    options: dict[str, Any] = {}
    table = given
    for level in _levels(context):
        command = level.info_name or ""
        commands = _sibling_commands(level)
        for key, value in table.items():  # finetune has an option and the app a group called mask
            if key not in commands or not isinstance(value, dict):
                options[key] = value
        table = table.get(command, {})
        if not isinstance(table, dict):
            raise typer.BadParameter(f"{path}: [{command}] must be a table")
    options |= table
    names = _option_names(context)
    unknown = sorted(key for key in options if key.replace("_", "-") not in names)
    if unknown:
        known = ", ".join(sorted(names))
        raise typer.BadParameter(
            f"{path}: unknown {'keys' if len(unknown) > 1 else 'key'} {', '.join(unknown)} "
            f"for {context.info_name!r}; known: {known}"
        )
    flags = {parameter.name for parameter in context.command.params if _is_flag(parameter)}
    chosen = {names[key.replace("_", "-")]: value for key, value in options.items()}
    for name, value in chosen.items():
        if isinstance(value, bool) != (name in flags):
            kind = "true or false" if name in flags else "no truth value"
            raise typer.BadParameter(f"{path}: --{name.replace('_', '-')} must be {kind}")
    several = {parameter.name for parameter in context.command.params if _is_several(parameter)}
    for name, value in chosen.items():
        if isinstance(value, (dict, list)) and (isinstance(value, dict) or name not in several):
            raise typer.BadParameter(f"{path}: --{name.replace('_', '-')} must be one value")
        if name in several and not isinstance(value, list):
            chosen[name] = [value]
    context.default_map = chosen
    return path


def _is_flag(parameter: Any) -> bool:
    return bool(getattr(parameter, "is_flag", False))


def _is_several(parameter: Any) -> bool:
    return bool(getattr(parameter, "multiple", False)) or getattr(parameter, "nargs", 1) != 1


def _read(path: Path) -> dict[str, Any]:
    import tomli

    try:
        raw = path.read_bytes()
        if len(raw) > _LIMIT:
            raise typer.BadParameter(f"{path}: larger than {_LIMIT} bytes")
        return tomli.loads(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise typer.BadParameter(f"{path}: {error}") from None


def _levels(context: typer.Context) -> list[typer.Context]:
    """The contexts of this command and of the groups that it is in, the app's own left out."""
    found = []
    level: Any = context
    while level.parent is not None:
        found.append(level)
        level = level.parent
    return found[::-1]


def _sibling_commands(context: typer.Context) -> list[str]:
    parent = context.parent
    return list(getattr(parent.command, "commands", {})) if parent is not None else []


def _option_names(context: typer.Context) -> dict[str, str]:
    names = {}
    for parameter in context.command.params:
        for flag in [*parameter.opts, *parameter.secondary_opts]:
            if flag.startswith("--") and flag not in ("--config", "--help"):
                names[flag[2:]] = str(parameter.name)
        if not parameter.opts[0].startswith("-"):
            names[str(parameter.name).replace("_", "-")] = str(parameter.name)
    return names
