"""The folder of a run: what failed, what is pending, how it was made."""

from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import ArtifactError, CorruptFileError
from talos_engine.reporting.document import Listing, Log, Table
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
