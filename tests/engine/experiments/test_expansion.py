from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import RecipeError
from talos_engine.experiments.expansion import Expansion, expand
from talos_engine.experiments.reading import read_recipe
from talos_engine.experiments.steps import ChosenWord

BASE = """
[settings]
tasks = ["a", "b"]
[common]
threads = 2
[steps.train]
command = "finetune"
each = { method = ["x", "y"], task = "{tasks}" }
options = { task = "{task}", method = "{method}", log = { output = ".jsonl" }, verbose = false }
[steps.vector]
command = "vector"
each = "train"
options = { finetuned = { step = "train" } }
"""


def expanded(lab: Any, text: str) -> Expansion:
    return expand(read_recipe(lab.write(text)))


def test_a_matrix_of_steps_with_references(lab: Any) -> None:
    found = expanded(lab, BASE + '[steps.merge]\ncommand = "add"\neach = { method = ["x"] }\n'
                     'arguments = [{ step = "vector" }]\noptions = { search = true, coef = [1, 2] }')  # fmt: skip
    assert len(found.steps) == 9
    train = found.steps["train.x.a"]
    assert train.shown() == [
        "talos", "finetune", "--task", "a", "--method", "x",
        "--log", "artifacts/train/x.a.jsonl", "--threads", "2",
        "--out", "artifacts/train/x.a.ckpt.safetensors",
    ]  # fmt: skip
    assert train.outputs["log"] == "artifacts/train/x.a.jsonl"
    vector = found.steps["vector.y.b"]
    assert vector.needs == {"train.y.b"}
    assert "--threads" not in vector.words
    merge = found.steps["merge.x"]
    assert merge.shown()[:4] == [
        "talos", "add", "artifacts/vector/x.a.vector.safetensors",
        "artifacts/vector/x.b.vector.safetensors",
    ]  # fmt: skip
    assert merge.shown()[4:9] == ["--search", "--coef", "1", "--coef", "2"]
    assert merge.outputs["search"] == "artifacts/merge/x.search.json"
    assert merge.inputs == {
        f"artifacts/vector/x.{task}.vector.safetensors": {"method": "x", "task": task}
        for task in "ab"
    }
    names = list(found.steps)
    assert all(names.index(need) < names.index(it.id) for it in found.steps.values()
               for need in it.needs)  # fmt: skip


def test_a_reference_that_means_nothing_says_what_it_sought_and_the_settings(lab: Any) -> None:
    lab.write(BASE, "base.toml")
    include = 'include = ["base.toml"]\n'
    pairs = (
        '[settings]\ntasks = ["c", "b"]\npairs = ["a-b"]\nfirst = { a-b = "a" }\n'
        '[steps.grid]\ncommand = "inspect"\neach = { method = ["x"], pair = "{pairs}" }\n'
        'arguments = [{ step = "vector", where = { task = "{first[pair]}" } }]\n'
    )
    with pytest.raises(RecipeError) as told:
        expanded(lab, include + pairs)
    assert told.value.message.endswith(
        "[steps.grid] arguments: no step 'vector' fits: task must be a, and there is c, b"
    )
    assert told.value.hint is not None
    assert "the settings first, pairs, tasks:" in told.value.hint
    assert "optional = true" in told.value.hint
    empty = '[settings]\ntasks = []\n[steps.one]\ncommand = "inspect"\narguments = [{ step = "vector" }]\n'
    with pytest.raises(RecipeError, match="there is no task") as told:
        expanded(lab, include + empty)
    assert told.value.hint is not None
    assert "the settings tasks:" in told.value.hint
    other = (
        '[steps.one]\ncommand = "inspect"\neach = { task = ["a"], method = ["z", "y"] }\n'
        'arguments = [{ step = "vector", others = ["task"], where = { task = "a" }, all = ["method"] }]\n'
    )
    assert expanded(lab, include + other).steps  # where beats others
    alone = other.replace(', where = { task = "a" }', "").replace(', all = ["method"]', "")
    with pytest.raises(RecipeError, match="method must be z, and there is x, y"):
        expanded(lab, include + alone)
    last = alone.replace('["z", "y"]', '["y"]').replace(
        "[steps.one]", '[settings]\ntasks = ["a"]\n[steps.one]'
    )
    with pytest.raises(RecipeError, match="task must be other than a, and there is a"):
        expanded(lab, include + last)


def test_steps_of_included_files_run_where_they_are_needed(lab: Any) -> None:
    lab.write(BASE, "base.toml")
    found = expanded(lab, 'include = ["base.toml"]\n[steps.one]\ncommand = "inspect"\n'
                     'arguments = [{ step = "vector", where = { method = "y", task = "a" } }]\n')  # fmt: skip
    assert list(found.steps) == ["train.y.a", "vector.y.a", "one"]
    assert expanded(lab, 'include = ["base.toml"]').steps == {}


def test_results_need_steps_too(lab: Any) -> None:
    lab.write(BASE, "base.toml")
    found = expanded(lab, 'include = ["base.toml"]\n[results.r]\nkind = "drift"\n'
                     'title = "of {method}"\neach = { method = ["y"] }\n'
                     'sources = { logs = { step = "train", output = "log" } }')  # fmt: skip
    assert list(found.steps) == ["train.y.a", "train.y.b"]
    (plan,) = found.results
    assert (plan.name, plan.table.title) == ("r.y", "of y")
    assert [file.path for file in plan.sources["logs"]] == [
        "artifacts/train/y.a.jsonl", "artifacts/train/y.b.jsonl",
    ]  # fmt: skip


def test_optional_only_then_and_files(lab: Any) -> None:
    lab.write("some data", "data.csv")
    found = expanded(lab, BASE + """
[steps.test]
command = "evaluate"
each = { method = ["x", "z"] }
arguments = [{ step = "vector", optional = true }]
[steps.test.options]
prune-lowest = { step = "vector", all = ["method"], where = { task = "a" }, only = { method = "z" }, then = [0.5] }
data = { file = "data.csv" }
""")  # fmt: skip
    words = {name: found.steps[name].shown() for name in ("test.x", "test.z")}
    assert words["test.x"][2:4] == [f"artifacts/vector/x.{it}.vector.safetensors" for it in "ab"]
    assert "--prune-lowest" not in words["test.x"]
    assert words["test.z"][2:8] == [
        "--prune-lowest", "artifacts/vector/x.a.vector.safetensors", "0.5",
        "--prune-lowest", "artifacts/vector/y.a.vector.safetensors", "0.5",
    ]  # fmt: skip
    assert str(lab.folder / "data.csv") in words["test.x"]


CHOOSE = (
    BASE
    + """
[steps.try]
command = "negate"
each = { rank = [4, 8], task = "{tasks}" }
arguments = [{ step = "vector", where = { method = "x" } }]
options = { search = true }
[steps.choice]
command = "choose"
options = { variable = "rank", from = { step = "try", output = "search" } }
[steps.final]
command = "add"
options = { rank = { chosen = "choice" } }
"""
)


def test_a_word_that_is_chosen_later(lab: Any) -> None:
    steps = expanded(lab, CHOOSE).steps
    choice = steps["choice"].choice
    assert choice is not None
    assert [variables["rank"] for _, variables in choice.reports] == [4, 4, 8, 8]
    final = steps["final"]
    assert final.needs == {"choice"}
    assert final.words[1] == ChosenWord("artifacts/choice/choice.json", "4")
    assert final.trial()[:3] == ["add", "--rank", "4"]


PER_TASK = (
    BASE
    + """
[steps.try]
command = "negate"
each = { rank = [4, 8], task = "{tasks}" }
arguments = [{ step = "vector", where = { method = "x" } }]
options = { search = true }
[steps.choice]
command = "choose"
each = { task = "{tasks}" }
[steps.choice.options]
variable = "rank"
from = { step = "try", output = "search" }
take = { negated = { step = "try" }, search = { step = "try", output = "search" } }
[steps.final]
command = "add"
options = { rank = { chosen = "choice" } }
[steps.apart]
command = "negate"
each = { task = "{tasks}" }
arguments = [{ step = "choice", output = "negated" }]
options = { rank = [{ chosen = "choice" }, { chosen = "choice", others = ["task"] }] }
"""
)


def test_a_choice_per_task_gives_a_word_per_task_in_their_order(lab: Any) -> None:
    steps = expanded(lab, PER_TASK).steps
    a, b = (ChosenWord(f"artifacts/choice/{task}.json", "4") for task in "ab")
    assert steps["final"].words[:4] == ("--rank", a, "--rank", b)
    assert steps["apart.b"].words[1:5] == ("--rank", b, "--rank", a)
    assert steps["apart.b"].words[0] == "artifacts/choice/b.negated.safetensors"
    assert steps["apart.b"].needs == {"choice.a", "choice.b"}


def test_what_a_choice_takes_over_is_an_output_of_it(lab: Any) -> None:
    choice = expanded(lab, PER_TASK).steps["choice.a"]
    assert choice.outputs == {
        "out": "artifacts/choice/a.json",
        "negated": "artifacts/choice/a.negated.safetensors",
        "search": "artifacts/choice/a.search.json",
    }
    assert choice.choice is not None
    negated, search = choice.choice.takes
    assert [(path, it["rank"]) for path, it in negated.candidates] == [
        ("artifacts/try/4.a.safetensors", 4),
        ("artifacts/try/8.a.safetensors", 8),
    ]
    assert search.out == choice.outputs["search"]
    assert choice.needs == {"try.4.a", "try.8.a"}
    with pytest.raises(RecipeError, match=r"take negated: there must be one file for each value"):
        expanded(lab, PER_TASK.replace('each = { task = "{tasks}" }\n[steps.choice.options]',
                                       "[steps.choice.options]"))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('command = "ad"', "[steps.bad]: there is no command for a step named 'ad'"),
        ('command = "add"\noptions = { out = "x" }', "options: out is set by talos run"),
        ('command = "add"\narguments = [{ step = "vectors" }]', "no step named 'vectors'"),
        ('command = "add"\narguments = [{ step = "vector", wher = {} }]', "no key 'wher'"),
        ('command = "add"\narguments = [{ step = "vector", where = "x" }]', "of the wrong type"),
        ('command = "add"\narguments = [{ step = "vector", where = { task = "c" } }]',
         "no step 'vector' fits"),
        ('command = "add"\narguments = [{ step = "vector", output = "log" }]', "no output 'log'"),
        ('command = "add"\narguments = [{ step = "vector", only = { z = 1 } }]', "no variable 'z'"),
        ('command = "add"\noptions = { coef = "{cof}" }', "options: coef: there is no variable"),
        ('command = "add"\noptions = { coef = { x = 1 } }', "a table must be"),
        ('command = "add"\noptions = { coef = { chosen = "vector" } }', "must name a step whose command is choose"),
        ('command = "add"\noptions = { data = { file = "gone" } }', "there is no "),
        ('command = "choose"\noptions = { variable = "task" }', "choose takes variable, from"),
        ('command = "choose"\noptions = { variable = "z", from = { step = "vector" } }',
         "no variable 'z'"),
        ('command = "add"\neach = { t = ["a b", "a_b"] }', "two steps would be called 'bad.a_b'"),
        ('command = "add"\nexclusive = 1', "exclusive must be true or false"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(lab: Any, text: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        expanded(lab, f"{BASE}\n[steps.bad]\n{text}\n")
    assert told in error.value.message
    assert "[steps.bad]" in error.value.message


def test_steps_in_a_circle(lab: Any) -> None:
    text = """
[steps.one]
command = "add"
arguments = [{ step = "two" }]
[steps.two]
command = "add"
arguments = [{ step = "one" }]
"""
    with pytest.raises(RecipeError, match="in a circle: one → two → one"):
        expanded(lab, text)
