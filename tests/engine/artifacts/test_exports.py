"""The names that other rooms may count on."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from talos_engine import artifacts


def test_everything_public_is_exported_and_documented() -> None:
    assert list(artifacts.__all__) == sorted(artifacts.__all__, key=lambda n: (not n.isupper(), n))
    for name in artifacts.__all__:
        thing = getattr(artifacts, name)
        if callable(thing):
            assert thing.__doc__, name


def test_the_room_imports_only_the_rooms_below_it() -> None:
    allowed = {"torch", "safetensors", "numpy", "zlib_ng", "__future__", *sys.stdlib_module_names}
    for path in Path(artifacts.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                room = ".".join(name.split(".")[:2])
                ours = {f"talos_engine.{r}" for r in ("artifacts", "errors", "registry", "version")}
                assert room in ours or name.split(".")[0] in allowed, (path.name, name)
