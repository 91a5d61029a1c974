"""Declared results: each kind as blocks, malformed ones refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from talos_engine.errors import ArtifactError, TalosError
from talos_engine.reporting.document import Cell, Table
from talos_engine.reporting.figures import Bars, Curve, Heatmap, Picture, Radar
from talos_engine.reporting.results import read_beside, read_result


def read(run_folder: Any, name: str) -> Any:
    folder = run_folder.write()
    return read_result(folder / "results" / f"{name}.json", folder, "tiny-clip")


def test_a_table(run_folder: Any) -> None:
    table = read(run_folder, "table1")
    assert isinstance(table, Table)
    assert (table.model, table.paper) == ("tiny-clip", "ViT-B-32")
    assert [column.key for column in table.columns] == ["absolute", "normalized", "coef"]
    assert table.rows[2].cells["absolute"] == Cell(0.672, 0.004, 3, paper=0.7967)
    assert table.rows[0].cells["absolute"] == Cell(0.5667, None, 1, 0.55, 0.58, 0.4772)
    assert "normalized" not in table.rows[0].cells


def test_a_cell_may_be_kept_from_being_the_best(run_folder: Any) -> None:
    folder = run_folder.write()
    path = folder / "results" / "table1.json"
    content = json.loads(path.read_text())
    before = read_result(path, folder, "")
    assert isinstance(before, Table)
    (best,) = before.best(before.columns[0])
    content["rows"][best]["cells"]["absolute"]["ranked"] = False
    path.write_text(json.dumps(content))
    after = read_result(path, folder, "")
    assert isinstance(after, Table)
    assert best not in after.best(after.columns[0])
    assert after.best(after.columns[0], paper=True) == before.best(before.columns[0], paper=True)


def test_figures(run_folder: Any) -> None:
    curve, heatmap = read(run_folder, "curve"), read(run_folder, "xi")
    assert isinstance(curve, Curve)
    assert [mark.x for mark in curve.series[0].marks] == [0.4]
    assert isinstance(heatmap, Heatmap)
    assert (heatmap.span, heatmap.box) == ((0.0, 1.0), (0.0, 1.0))
    assert read(run_folder, "localization").values[1] == [0.95, None]
    bars, picture = read(run_folder, "cost"), read(run_folder, "picture")
    assert isinstance(bars, Bars)
    assert bars.series["optimizer"] == [9.0, None]
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (40, 30)
    assert picture.png.startswith(b"\x89PNG")


def test_clouds_of_points_are_not_connected(run_folder: Any) -> None:
    run_folder.results["curve"]["style"] = "points"
    assert read(run_folder, "curve").points
    assert not read(run_folder, "curve").diagonal
    run_folder.results["curve"]["diagonal"] = True
    assert read(run_folder, "curve").diagonal


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("table1", lambda c: c.update(kind="spell"), "kind"),
        ("table1", lambda c: c.pop("kind"), "kind"),
        ("table1", lambda c: c["columns"][0].update(better="bigger"), "columns[0].better"),
        ("table1", lambda c: c["columns"][1].update(key="absolute"), "columns"),
        (
            "table1",
            lambda c: c["rows"][1]["cells"]["coef"].update(mean="much"),
            "rows[1].cells.coef",
        ),
        ("curve", lambda c: c["series"][0]["y"].pop(), "series[0].y"),
        ("curve", lambda c: c.update(series=[]), "series"),
        ("curve", lambda c: c["series"][1].update(low=[1]), "series[1].low"),
        ("xi", lambda c: c["values"].pop(), "values"),
        ("xi", lambda c: c.update(rows=[]), "rows"),
        ("xi", lambda c: c.update(range=[1, 0]), "range"),
        ("cost", lambda c: c["series"][0]["values"].pop(), "series[0].values"),
        ("picture", lambda c: c.update(file="../outside.png"), "file"),
        ("picture", lambda c: c.update(file="/etc/passwd"), "file"),
    ],
)
def test_malformed_results_are_refused_by_name(
    run_folder: Any, name: str, change: Change, named: str
) -> None:
    change(run_folder.results[name])
    with pytest.raises(ArtifactError) as caught:
        read(run_folder, name)
    assert f"{name}.json" in caught.value.message
    assert named in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_damaged_pictures_are_refused_by_name(run_folder: Any, content: bytes | None) -> None:
    folder = run_folder.write()
    picture = folder / "artifacts" / "picture.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ArtifactError, match=r"picture\.png"):
        read_result(folder / "results" / "picture.json", folder, "")


def test_a_picture_behind_a_link_out_of_the_folder_is_refused(run_folder: Any) -> None:
    folder = run_folder.write()
    picture = folder / "artifacts" / "picture.png"
    outside = folder.parent / "outside.png"
    picture.rename(outside)
    picture.symlink_to(outside)
    with pytest.raises(TalosError, match="inside the folder"):
        read_result(folder / "results" / "picture.json", folder, "")


def test_a_radar_beside_a_table(run_folder: Any) -> None:
    table = run_folder.results["table1"]
    keys = [column["key"] for column in table["columns"]]
    assert (
        read_beside(run_folder.write() / "results" / "table1.json", read(run_folder, "table1"))
        == []
    )
    table["radar"] = keys
    path = run_folder.write() / "results" / "table1.json"
    (radar,) = read_beside(path, read(run_folder, "table1"))
    assert isinstance(radar, Radar)
    assert [line.label for line in radar.lines] == [row["label"] for row in table["rows"]]
    table["radar"] = [*keys, "lost"]
    with pytest.raises(ArtifactError, match="radar"):
        read_beside(run_folder.write() / "results" / "table1.json", read(run_folder, "table1"))
