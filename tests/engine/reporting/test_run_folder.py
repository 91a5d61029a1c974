"""The folder of a run: what failed, what is pending, how it was made."""

from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import ArtifactError, CorruptFileError
from talos_engine.reporting.document import Facts, Listing, Log, Remark, Table
from talos_engine.reporting.run_folder import read_log, read_run


def test_a_whole_run(run_folder: Any) -> None:
    document = read_run(run_folder.write())
    assert document.title == "Table 1 on tiny-clip"
    assert dict(document.facts)["steps"] == "2 done, 1 failed, 1 pending"
    assert dict(document.facts)["model"] == "tiny-clip"
    assert document.sections[0].title == "Not finished"
    assert isinstance(document.sections[1].blocks[0], Table), "tables come first"
    assert document.sections[-1].title == "How it was made"
    assert len({section.name for section in document.sections}) == len(document.sections)


def test_results_stand_as_the_recipe_lists_them(run_folder: Any) -> None:
    names = sorted(run_folder.results, reverse=True)
    assert len(names) > 2
    run_folder.run["results"] = names
    sections = read_run(run_folder.write()).sections
    found = [section.title for section in sections if section.name.startswith("result-")]
    assert found == [run_folder.results[name]["title"] for name in names]


def test_recipes_with_tables_stand_first_and_results_of_nobody_last(run_folder: Any) -> None:
    for name, recipe in (("curve", "z"), ("table1", "z"), ("xi", "a")):
        made = run_folder.results[name]["made"]
        made |= {"recipe": recipe, "recipe_hash": recipe * 64, "record": f"records/{recipe}.json"}
        run_folder.records[recipe] = {**run_folder.run, "results": ["curve", "table1"]}
    order = ["curve", "table1", "xi", "localization"]
    run_folder.results = {name: run_folder.results[name] for name in order}
    del run_folder.results["localization"]["made"]
    sections = read_run(run_folder.write()).sections
    found = [section.title for section in sections if section.name.startswith("result-")]
    assert found == [run_folder.results[name]["title"] for name in order]


def test_failed_steps_are_shown_with_the_end_of_their_logs(run_folder: Any) -> None:
    run_folder.logs["calibrate.mnist"] = "\n".join(["x" * 99] * 500 + ["\x1b[31mthe cause\r\n"])
    blocks = read_run(run_folder.write()).sections[0].blocks
    listed = [block for block in blocks if isinstance(block, Listing)]
    assert [row[0] for row in listed[0].rows] == ["calibrate.mnist"]
    assert [row[0] for row in listed[1].rows] == ["finetune.mnist"]
    log = next(block for block in blocks if isinstance(block, Log))
    assert log.text.splitlines()[-1] == "\N{REPLACEMENT CHARACTER}[31mthe cause"
    assert len(log.text) < 8_100


def test_a_finished_run_has_no_such_section(run_folder: Any) -> None:
    for step in run_folder.run["steps"]:
        step["state"] = "done"
    titles = [section.title for section in read_run(run_folder.write()).sections]
    assert "Not finished" not in titles


def test_a_run_without_results_says_so(run_folder: Any) -> None:
    run_folder.results.clear()
    document = read_run(run_folder.write())
    assert any(
        "no results yet" in getattr(b, "text", "") for s in document.sections for b in s.blocks
    )


def test_settings_that_name_several_models_name_none(run_folder: Any) -> None:
    run_folder.run["settings"]["model"] = ["tiny-clip", "tiny-t5"]
    run_folder.results.clear()
    assert dict(read_run(run_folder.write()).facts)["model"] == "–"


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", {}), ("steps", [1]), ("steps", [{"id": "x", "state": "lost"}]), ("schema", None),
     ("settings", []), ("title", 3)],
)  # fmt: skip
def test_malformed_runs_are_refused_by_name(run_folder: Any, key: str, value: Any) -> None:
    run_folder.run[key] = value
    with pytest.raises(ArtifactError, match=r"run\.json"):
        read_run(run_folder.write())


def test_logs_are_not_read_outside_the_folder(run_folder: Any) -> None:
    folder = run_folder.write()
    (folder.parent / "secret.log").write_text("secret")
    with pytest.raises(CorruptFileError, match="outside the folder"):
        read_log(folder, "../secret.log")
    assert "cannot be read" in read_log(folder, "logs/none.log")


def other_recipe(run_folder: Any, name: str, **settings: Any) -> None:
    """Let a result be of an earlier recipe."""
    made = run_folder.results[name]["made"]
    made["settings"] |= settings
    made |= {"recipe": "fig-tiny", "title": "A figure", "recipe_hash": "ef" * 32,
             "record": "records/second.json"}  # fmt: skip
    run_folder.results[name]["sources"] = ["artifacts/measured.json"]
    again = {**run_folder.run["steps"][1], "outputs": ["artifacts/measured.json"],
             "command": ["talos", "finetune", "--steps", "60"], "key": "9" * 64}  # fmt: skip
    run_folder.records["second"] = {
        **run_folder.run,
        **{key: made[key] for key in ("title", "recipe_hash", "settings")},
        "name": "fig-tiny",
        "steps": [run_folder.run["steps"][0], again],
    }


def remarks(document: Any, title: str) -> list[Remark]:
    section = next(it for it in document.sections if it.title == title)
    return [block for block in section.blocks if isinstance(block, Remark)]


def test_results_of_several_recipes_are_told_apart(run_folder: Any) -> None:
    run_folder.run["settings"]["steps"] = 120
    other_recipe(run_folder, "curve", steps=60)
    document = read_run(run_folder.write())
    assert document.title == "Results of 2 recipes on tiny-clip"
    assert dict(document.facts)["recipes"] == "table1-tiny, fig-tiny"
    assert dict(document.facts)["steps of table1-tiny"] == "2 done, 1 failed, 1 pending"
    marked, made = remarks(document, "Choosing α")
    assert marked.urgent
    assert marked.text.endswith("table1-tiny: steps 60 (there 120).")
    assert made.text.startswith("Made by the recipe fig-tiny (“A figure”): model tiny-clip; seeds")
    assert "steps 60" in made.text
    section = next(it for it in document.sections if it.title == "Choosing α")
    (commands,) = [block for block in section.blocks if isinstance(block, Listing)]
    assert commands.rows == [["finetune.digits", "talos finetune --steps 60"]]
    (own,) = remarks(document, "Task addition")
    assert own.text.startswith("Made by the recipe table1-tiny")
    provenance = document.sections[-1].blocks
    facts = {block.title: dict(block.items) for block in provenance if isinstance(block, Facts)}
    assert facts["Recipe 2"]["hash of the recipe"] == "ef" * 32
    assert facts["Recipe 2: settings that the newest run does not have"] == {"steps": "60"}
    listed = next(it for it in provenance if getattr(it, "title", "").startswith("All commands"))
    assert listed.title == "All commands (5)"
    recipes = {(row[0], row[3]): row[5] for row in listed.rows}
    assert recipes["calibrate.digits", run_command(run_folder, 0)] == "1, 2"
    assert recipes["finetune.digits", run_command(run_folder, 1)] == "1"
    assert recipes["finetune.digits", "talos finetune --steps 60"] == "2"


def run_command(run_folder: Any, number: int) -> str:
    return " ".join(run_folder.run["steps"][number]["command"])


def test_the_model_is_that_of_the_recipe_that_made_a_table(run_folder: Any) -> None:
    run_folder.run["settings"]["model"] = "tiny-t5"
    document = read_run(run_folder.write())
    table = next(s.blocks[0] for s in document.sections if s.title == "Task addition")
    assert isinstance(table, Table)
    assert table.model == "tiny-clip"


def test_a_recipe_that_has_changed_since_is_marked(run_folder: Any) -> None:
    run_folder.results["curve"]["made"]["recipe_hash"] = "ef" * 32
    marked, _ = remarks(read_run(run_folder.write()), "Choosing α")
    assert "has changed since" in marked.text


def test_files_of_before_are_shown_with_a_warning_unless_they_are_of_the_newest_run(
    run_folder: Any,
) -> None:
    for content in run_folder.results.values():
        del content["made"]
    run_folder.results["curve"]["sources"] = ["artifacts/a.json"]
    run_folder.run["steps"][0]["outputs"] = ["artifacts/a.json"]
    run_folder.run["results"] = ["curve"]
    document = read_run(run_folder.write())
    assert document.title == "Results in run"
    (told,) = remarks(document, "Task addition")
    assert told.urgent
    assert "is not recorded" in told.text
    (told,) = remarks(document, "Choosing α")
    assert told.text.startswith("Made by the recipe table1-tiny")
    run_folder.run["results"] = []  # of an earlier recipe whose steps this one has too
    (told,) = remarks(read_run(run_folder.write()), "Choosing α")
    assert "is not recorded" in told.text


@pytest.mark.parametrize("record", ["records/none.json", "../run.json", 3])
def test_records_are_whole_and_inside_the_folder(run_folder: Any, record: Any) -> None:
    run_folder.results["curve"]["made"]["record"] = record
    with pytest.raises(ArtifactError):
        read_run(run_folder.write())
