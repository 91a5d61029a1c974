"""Tasks declared in TOML: what is read, and what is wrong with those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.data.declaration import GENERIC_TEMPLATES, check_template, read_declaration
from talos_engine.data.sources.folder import FolderSource
from talos_engine.data.sources.hub import HubSource
from talos_engine.errors import DataError, TalosError

WHOLE = """
name = "pets"
description = "three pets"
control = true
templates = ["a photo of a {}, a pet.", "{}"]
class_names = ["a cat", "a dog", "a guinea pig"]
labels = ["cat", "dog", "guinea_pig"]
[source]
kind = "folder"
path = "pets"
[sizes]
train = 12
"""
SHORT = 'name = "pets"\n[source]\nkind = "folder"\npath = "pets"\n'


def declare(folder: Path, text: str) -> Path:
    path = folder / "pets.toml"
    path.write_text(text)
    return path


def test_everything_that_may_be_declared(pets_folder: Path) -> None:
    spec = read_declaration(declare(pets_folder.parent, WHOLE)).spec()
    assert (spec.name, spec.description, spec.control) == ("pets", "three pets", True)
    assert spec.class_names == ("a cat", "a dog", "a guinea pig")
    assert spec.templates == ("a photo of a {}, a pet.", "{}")
    assert spec.sizes == {"train": 12}
    assert spec.available()
    assert spec.load("test").labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_least_that_must_be_declared(pets_folder: Path, using: Callable[..., Any]) -> None:
    run = using()
    spec = read_declaration(declare(pets_folder.parent, SHORT)).spec()
    assert spec.class_names == ("cat", "dog", "guinea pig")
    assert spec.templates == GENERIC_TEMPLATES
    assert GENERIC_TEMPLATES[0] in run.notes[0]
    assert str(pets_folder) in spec.description


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    source = read_declaration(declare(tmp_path, SHORT)).source
    assert source == FolderSource(tmp_path / "pets")


def test_a_hub_source_has_all_its_settings(tmp_path: Path) -> None:
    text = """name = "pets"
[source]
kind = "hub"
repo = "someone/pets"
config = "small"
revision = "v1"
image = "img"
label = "kind"
train = "training"
test = "validation"
"""
    source = read_declaration(declare(tmp_path, text)).source
    assert source == HubSource(
        "someone/pets", "small", "v1", "img", "kind", "training", "validation"
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "pets"', 'nmae = "pets"', "unknown key 'nmae'"),
        ('name = "pets"', "", "does not say 'name'"),
        ('name = "pets"', "name = 3", "name must be a str"),
        ('name = "pets"', 'name = "../pets"', "'../pets'"),
        ("control = true", 'control = "yes"', "control must be a bool"),
        ('"{}"]', '"no class"]', "'no class' needs one {}"),
        ('"{}"]', '"{} and {}"]', "needs one {}"),
        ('"{}"]', '"{0.__class__} {}"]', "needs one {}"),
        ('"{}"]', "3]", "templates must hold texts"),
        ('"a cat", ', "", "3 labels for 2 class_names"),
        ('"a cat", ', '"a dog", ', "'a dog' twice"),
        ('["a cat", "a dog", "a guinea pig"]', '["a cat"]', "1 class is too few"),
        ('kind = "folder"', 'kind = "floppy"', "no kind of source named 'floppy'"),
        ('kind = "folder"', "", "does not say its kind"),
        ('path = "pets"', "", "needs path"),
        ('path = "pets"', "path = 3", "path of [source] must be text"),
        ('path = "pets"', 'path = "pets"\nimage = "x"', "unknown key 'image'"),
        ("train = 12", "val = 12", "[sizes]"),
        ("train = 12", "train = true", "[sizes]"),
        ("[source]", "[[source]]", "source must be a dict"),
        ("[source]", "[source", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(pets_folder: Path, before: str, after: str, words: str) -> None:
    assert before in WHOLE
    path = declare(pets_folder.parent, WHOLE.replace(before, after))
    with pytest.raises(DataError) as caught:
        read_declaration(path).spec()
    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_declaration(path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.toml cannot be read"):
        read_declaration(tmp_path / "binary.toml")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, "utf-8", newline="")
    with pytest.raises(TalosError):
        read_declaration(path)


@given(st.text(st.sampled_from("{}a!0.:["), max_size=8))
def test_an_accepted_template_takes_any_name(template: str) -> None:
    try:
        check_template(template, "here")
    except DataError:
        return
    assert template.format("x{y}").replace("x{y}", "{}", 1) == template
