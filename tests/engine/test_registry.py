"""Names come from files, entries are imported one at a time, wrong names are told about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.errors import UnknownNameError
from talos_engine.masking.spec import MASK_RULES
from talos_engine.merging.spec import MERGE_METHODS
from talos_engine.models.spec import MODELS
from talos_engine.registry import Registry, list_names
from talos_engine.training.spec import FINETUNE_METHODS

REGISTRIES = (EMBEDDED_TASKS, MASK_RULES, MERGE_METHODS, MODELS, FINETUNE_METHODS)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of two entries, one that cannot be imported and one that is private."""
    name = f"fruit_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "red_apple.py").write_text("import fruits\nfruits.shelf.register('red-apple')(1)\n")
    (folder / "pear.py").write_text("raise RuntimeError('imported')\n")
    (folder / "silent.py").write_text("")
    (folder / "_private.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def shelf(package: str, monkeypatch: pytest.MonkeyPatch) -> Registry[int]:
    registry: Registry[int] = Registry("fruit", package)
    module = type(sys)("fruits")
    module.shelf = registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fruits", module)
    return registry


def test_names_are_files_and_nothing_is_imported(package: str) -> None:
    assert list_names(package) == ("pear", "red-apple", "silent")
    assert f"{package}.pear" not in sys.modules
    assert f"{package}.red_apple" not in sys.modules


def test_listing_something_that_is_no_package_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="not a package"):
        list_names("talos_engine.version")


def test_get_imports_only_the_entry_asked_for(shelf: Registry[int], package: str) -> None:
    assert shelf.get("red-apple") == 1
    assert f"{package}.red_apple" in sys.modules
    assert f"{package}.pear" not in sys.modules


def test_a_duplicate_raises_and_keeps_the_first(shelf: Registry[int]) -> None:
    shelf.register("plum")(1)
    with pytest.raises(ValueError, match="duplicate fruit 'plum'"):
        shelf.register("plum")(2)
    assert shelf.get("plum") == 1


def test_a_module_that_registers_nothing_is_a_programming_error(shelf: Registry[int]) -> None:
    with pytest.raises(ValueError, match="does not register"):
        shelf.get("silent")


def test_an_unknown_name_lists_the_alternatives_and_the_nearest(shelf: Registry[int]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        shelf.get("red-aple")
    assert caught.value.message == "there is no fruit named 'red-aple'"
    assert "did you mean 'red-apple'?" in caught.value.hint
    assert "pear, red-apple, silent" in caught.value.hint


@pytest.mark.parametrize("name", ["..", "red_apple", "_private", "", "a/b", "red-apple.x"])
def test_names_cannot_reach_outside_the_package(shelf: Registry[int], name: str) -> None:
    with pytest.raises(UnknownNameError):
        shelf.get(name)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_file_of_a_shipped_registry_is_an_entry(registry: Registry[object]) -> None:
    assert registry.names()
    for name in registry.names():
        assert registry.get(name).name == name  # type: ignore[attr-defined]


def test_listing_shipped_names_imports_no_torch() -> None:
    code = (
        "import sys; from talos_engine.registry import list_names;"
        "print([list_names('talos_engine.' + p) for p in ('masking.rules', 'training.methods',"
        " 'merging.methods', 'models.catalog', 'data.embedded')]);"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "talos" in done.stdout
    assert "tiny-clip" in done.stdout
