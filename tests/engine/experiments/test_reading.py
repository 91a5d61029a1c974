from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import ArtifactError, RecipeError
from talos_engine.experiments.reading import read_recipe

STEP = '[steps.a]\ncommand = "vector"\n'


def test_a_recipe_with_includes(lab: Any) -> None:
    lab.write('[settings]\nx = 1\ny = 2\n[steps.base]\ncommand = "vector"\n', "base.toml")
    path = lab.write(
        'name = "n"\ninclude = ["base.toml"]\n[settings]\nx = 5\n'
        '[steps.a]\ncommand = "add"\neach = { t = [1, 2] }\nexcept = [{ t = 1 }]\n'
        '[steps.b]\ncommand = "add"\neach = "a"\n'
    )
    recipe = read_recipe(path, {"y": 3})
    assert recipe.settings == {"x": 5, "y": 3}
    assert list(recipe.steps) == ["base", "a", "b"]
    assert recipe.own == {"a", "b"}
    assert recipe.steps["b"].each == {"t": [1, 2]}
    assert recipe.steps["b"].left_out == [{"t": 1}]
    assert [it.name for it in recipe.included] == ["base.toml"]
    assert recipe.text == path.read_bytes()


def test_common_options_of_a_file_beat_those_of_the_files_it_includes(lab: Any) -> None:
    lab.write("[common]\nthreads = 1\nseed = 2\n" + STEP, "base.toml")
    recipe = read_recipe(lab.write('include = ["base.toml"]\n[common]\nthreads = 4\n'))
    assert recipe.common == {"threads": 4, "seed": 2}


def test_a_file_included_twice_is_read_once(lab: Any) -> None:
    lab.write(STEP, "base.toml")
    lab.write('include = ["base.toml"]', "one.toml")
    lab.write('include = ["base.toml"]', "two.toml")
    recipe = read_recipe(lab.write('include = ["one.toml", "two.toml"]'))
    assert list(recipe.steps) == ["a"]
    assert recipe.own == set()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nam = 'x'\n" + STEP, "there is no key named 'nam'"),
        (
            '[steps.a]\ncommand = "vector"\noption = {}\n',
            "[steps.a]: there is no key named 'option'",
        ),
        ("[steps.a]\neach = {}\n", "[steps.a]: command is missing"),
        ("[steps.a]\ncommand = 3\n", "[steps.a]: command must be a text"),
        ("steps = 3\n", "steps must be a table"),
        ("title = 'x'\n", "the recipe has no [steps.NAME]"),
        ('[steps."a b"]\ncommand = "vector"\n', "'a b' is no name"),
        ('[steps.a]\ncommand = "vector"\neach = "b"\n', "names the step 'b'"),
        ('[steps.a]\ncommand = "vector"\nexcept = [{ t = 1 }]\n', "except must be"),
        (STEP + '[results.r]\nkind = "cost"\ntitle = "t"\n', "[results.r]: sources is missing"),
        (
            STEP + '[results.r]\nkind = "cost"\ntitle = "t"\nsources = { x = 3 }\n',
            "must name a step",
        ),
        (STEP + '[results.r]\nkind = "c"\ntitle = "t"\nsources = {}\npaper = { t = 1 }\n', "paper"),
        ("x = [", "recipe.toml"),
        ("include = [3]\n" + STEP, "include must be a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_table_and_key(lab: Any, text: str, told: str) -> None:
    path = lab.write(text)
    with pytest.raises(RecipeError) as error:
        read_recipe(path)
    assert told in error.value.message
    assert str(path) in error.value.message


def test_settings_that_do_not_exist_cannot_be_set(lab: Any) -> None:
    path = lab.write("[settings]\nsteps = 3\n" + STEP)
    with pytest.raises(RecipeError, match="no setting named 'step' to set"):
        read_recipe(path, {"step": 3})


def test_included_files_that_disagree_need_a_word(lab: Any) -> None:
    lab.write("[settings]\nx = 1\n" + STEP, "one.toml")
    lab.write("[settings]\nx = 2\n", "two.toml")
    both = 'include = ["one.toml", "two.toml"]\n'
    with pytest.raises(RecipeError, match="set 'x' to 1 and to 2"):
        read_recipe(lab.write(both))
    assert read_recipe(lab.write(both + "[settings]\nx = 3\n")).settings == {"x": 3}


def test_names_declared_twice_and_circles_of_files(lab: Any) -> None:
    lab.write(STEP, "one.toml")
    with pytest.raises(RecipeError, match=r"\[steps.a\] is declared in .*one.toml too"):
        read_recipe(lab.write('include = ["one.toml"]\n' + STEP))
    with pytest.raises(RecipeError, match="includes itself"):
        read_recipe(lab.write('include = ["recipe.toml"]\n' + STEP))


def test_files_that_are_not_there(lab: Any) -> None:
    with pytest.raises(ArtifactError, match="there is no file"):
        read_recipe(lab.folder / "none.toml")
    with pytest.raises(ArtifactError, match=r"there is no file .*gone.toml"):
        read_recipe(lab.write('include = ["gone.toml"]\n' + STEP))
