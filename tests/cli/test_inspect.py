"""``talos inspect``: the result on standard output, tables beside it, pictures that are pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    Scores,
    TaskVector,
    file_hash,
    inspect_kind,
    read_mask,
    read_metrics,
    read_vector,
    write_mask,
    write_scores,
    write_vector,
)
from talos_engine.models.loading import open_skeleton

Talos = Callable[..., Any]


@pytest.fixture(scope="module")
def others(toy_files: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scores, a vector with a hostile name of a foreign model, and a mask without live entries."""
    folder = tmp_path_factory.mktemp("others")
    header = read_vector(toy_files.vector()).header
    shapes = open_skeleton("toy-clip").structure
    generator = torch.Generator().manual_seed(0)
    scores = {n: torch.rand(shapes.shapes[n], generator=generator) for n in shapes.maskable}
    write_scores(folder / "scores", Scores(dataclasses.replace(header, kind="scores"), scores))
    base = dataclasses.replace(header.base, name="hub/$x^{[/red]")
    foreign = dataclasses.replace(
        header, base=base, task="$^ [bold] \N{CJK UNIFIED IDEOGRAPH-6570}"
    )
    write_vector(folder / "foreign", TaskVector(foreign, read_vector(toy_files.vector()).entries))
    mask = read_mask(toy_files.mask())
    write_mask(folder / "empty", dataclasses.replace(mask, live={}))
    zero = {name: torch.zeros_like(tensor) for name, tensor in scores.items()}
    write_scores(folder / "zeros", Scores(dataclasses.replace(header, kind="scores"), zero))
    return {name: folder / name for name in ("scores", "foreign", "empty", "zeros")}


def test_standard_output_has_the_kinds_and_standard_error_the_tables(
    talos: Talos, toy_files: Any, others: dict[str, Path], tmp_path: Path
) -> None:
    done = talos("inspect", toy_files.mask())
    assert (done.code, done.out) == (0, "mask\n")
    live = read_mask(toy_files.mask()).live_count
    for words in (f"{live:,} of 18,912 entries live", "mlp_in bias", "% live by kind and layer"):
        assert words in done.plain_err
    assert toy_files.mask().name in done.plain_err
    assert read_mask(toy_files.mask()).header.base.hash[:12] in done.plain_err
    several = [toy_files.vector(), toy_files.checkpoint(), others["scores"], toy_files.mask()]
    listed = talos("inspect", *several)
    assert listed.out.split() == ["vector", "checkpoint", "scores", "mask"]
    assert "listed, not compared" in listed.plain_err
    assert list(tmp_path.iterdir()) == []


def test_scores_and_vectors_have_their_tables(
    talos: Talos, toy_files: Any, others: dict[str, Path]
) -> None:
    scores = talos("inspect", others["scores"])
    assert "median" in scores.plain_err
    assert "k bias" in scores.plain_err
    vector = talos("inspect", toy_files.vector())
    assert "norm" in vector.plain_err
    foreign = talos("inspect", others["foreign"])
    assert foreign.code == 0
    assert "tensors stand alone: there is no model named 'hub/$x^{[/red]'" in foreign.plain_err
    assert "visual.transformer.resblocks.1.mlp.c_fc.weight" in foreign.plain_err


def test_comparisons_have_their_tables(talos: Talos, toy_files: Any) -> None:
    masks = talos("inspect", toy_files.mask("a"), toy_files.mask("b"))
    assert masks.out == "mask\nmask\n"
    for words in ("intersection over union", "independent", "1 toy-a", "2 toy-b"):
        assert words in masks.plain_err
    vectors = talos("inspect", toy_files.vector("a"), toy_files.vector("b"))
    for words in ("cosine similarity", "opposite signs", "norm"):
        assert words in vectors.plain_err


def test_quiet_leaves_the_result_only(talos: Talos, toy_files: Any) -> None:
    done = talos("inspect", toy_files.mask("a"), toy_files.mask("b"), "--quiet")
    assert (done.code, done.out, done.err) == (0, "mask\nmask\n", "")


def test_json_has_everything(talos: Talos, toy_files: Any, tmp_path: Path) -> None:
    paths = [toy_files.vector("a"), toy_files.vector("b", "nonlinear")]
    done = talos("inspect", *paths, "--json", "--quiet", "--plot", "p.png")
    assert len(done.out.splitlines()) == 1

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    values = json.loads(done.out, parse_constant=refuse)
    assert (values["path"], values["plot"], values["command"]) == (None, "p.png", "inspect")
    first = values["files"][0]
    header = read_vector(paths[0]).header
    assert first["base"]["hash"] == header.base.hash
    assert first["config"] == header.config
    assert first["path"] == str(paths[0])
    assert sum(kind["live"] for kind in first["by_kind"].values()) == first["live"]
    assert sum(cell["total"] for cell in first["cells"]) == first["total"]
    comparison = values["comparison"]
    assert comparison["cosine"][0][0] == 1.0
    assert comparison["norms"][0] == first["norm"]
    assert {path.name for path in tmp_path.iterdir()} == {"p.png"}


def test_written_files_are_named_on_standard_output(
    talos: Talos, toy_files: Any, tmp_path: Path
) -> None:
    done = talos("inspect", toy_files.mask(), "-o", "m.json", "--plot", "m.png")
    assert (done.code, done.out) == (0, "m.json\nm.png\n")
    assert inspect_kind(tmp_path / "m.json") == "metrics"
    stored = read_metrics(tmp_path / "m.json")
    assert stored["inputs"] == [
        {"path": str(toy_files.mask()), "sha256": file_hash(toy_files.mask())}
    ]
    again = talos("inspect", tmp_path / "m.json")
    assert again.out == "metrics\n"
    assert talos("inspect", toy_files.mask(), "--plot", "m.png").code == 1
    assert talos("inspect", toy_files.mask(), "--plot", "m.png", "--force").out == "m.png\n"


def capture_figures(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Any]:
    """Figures that the module would save, laid out and drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figures = []

    def draw(figure: Any, path: Path, force: bool) -> None:
        FigureCanvasAgg(figure).draw()
        figures.append(figure)

    monkeypatch.setattr(module, "save_figure", draw)
    return figures


def pictures(files: Any, others: dict[str, Path]) -> dict[str, list[Path]]:
    return {
        "mask": [files.mask()],
        "vector": [files.vector()],
        "dense vector": [files.vector("a", "nonlinear")],
        "scores": [others["scores"]],
        "masks": [files.mask(task) for task in "abc"],
        "vectors": [files.vector("a"), files.vector("b", "nonlinear"), files.vector("c")],
        "foreign vector": [others["foreign"]],
        "foreign vectors": [others["foreign"], files.vector("b")],
        "empty mask": [others["empty"]],
        "zero scores": [others["zeros"]],
    }


PICTURES = (
    "mask", "vector", "dense vector", "scores", "masks", "vectors", "foreign vector",
    "foreign vectors", "empty mask", "zero scores",
)  # fmt: skip


@pytest.mark.parametrize("which", PICTURES)
def test_pictures_are_pictures_and_the_same_each_time(
    talos: Talos, toy_files: Any, others: dict[str, Path], tmp_path: Path, which: str
) -> None:
    from PIL import Image

    files = pictures(toy_files, others)[which]
    contents = []
    for name in ("one.png", "two.png"):
        done = talos("inspect", *files, "--plot", name, "--quiet")
        assert (done.code, done.out, done.err) == (0, f"{name}\n", "")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert max(picture.size) < 6000
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 10


@pytest.mark.parametrize("which", PICTURES)
def test_no_text_of_a_picture_is_cut_off(
    talos: Talos,
    toy_files: Any,
    others: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    from matplotlib.text import Text

    from talos_cli import inspection_plots

    figures = capture_figures(monkeypatch, inspection_plots)
    talos("inspect", *pictures(toy_files, others)[which], "--plot", "p.png", "--quiet")
    figure = figures[0]
    inside, whole = figure.get_tightbbox(), figure.bbox_inches
    assert whole.x0 - 0.01 <= inside.x0
    assert whole.y0 - 0.01 <= inside.y0
    assert inside.x1 <= whole.x1 + 0.01
    assert inside.y1 <= whole.y1 + 0.01
    assert inside.width > 0.8 * whole.width, "nor is there much empty space"
    assert inside.height > 0.8 * whole.height
    assert len([text for text in figure.findobj(Text) if text.get_text()]) > 5
    titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    if figure.get_suptitle() and titles:
        top = figure._suptitle.get_window_extent()
        assert not any(top.overlaps(title) for title in titles)


def test_the_cost_legend_covers_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from talos_cli import plots

    figures = capture_figures(monkeypatch, plots)
    spread = SimpleNamespace(mean=0.2, std=0.01)
    costs: Any = [
        SimpleNamespace(
            method=name, forward_backward=spread, optimizer=spread, total=spread,
            peak_bytes=2**30, memory_source="rss",
        )
        for name in ("talos", "nonlinear")
    ]  # fmt: skip
    plots.draw_costs(costs, tmp_path / "p.png", force=False)
    figure = figures[0]
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)


CASES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "no file": (2, "FILE", ()),
    "missing file": (1, "no file", ("{mask}", "nowhere")),
    "folder": (1, "folder", ("{folder}",)),
    "truncated mask": (1, "cut", ("{cut}",)),
    "truncated among others": (1, "cut", ("{mask}", "{cut}")),
    "text": (1, "text", ("{text}",)),
    "json of others": (1, "not a metrics file", ("{json}",)),
    "nothing to draw": (2, "nothing to draw", ("{checkpoint}", "--plot", "p.png")),
    "mixed to draw": (2, "several kinds", ("{checkpoint}", "{mask}", "--plot", "p.png")),
    "no folder to write": (1, "no folder", ("{mask}", "-o", "nowhere/x.json")),
    "no folder to draw": (1, "no folder", ("{mask}", "--plot", "nowhere/x.png")),
    "same output twice": (2, "same file", ("{mask}", "-o", "x.png", "--plot", "./x.png")),
    "output is an input": (2, "which is read", ("{mask}", "-o", "{mask}", "--force")),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_message_and_leaves_nothing(
    talos: Talos, toy_files: Any, tmp_path: Path, case: str
) -> None:
    code, words, command = CASES[case]
    folder = tmp_path.parent / f"{tmp_path.name}-damaged"
    folder.mkdir()
    (folder / "cut").write_bytes(toy_files.mask().read_bytes()[:-3])
    (folder / "text").write_text("hello, world\n" * 9)
    (folder / "json").write_text('{"a": 1}')
    files = {name: str(folder / name) for name in ("cut", "text", "json")}
    files |= {"folder": str(folder), "mask": str(toy_files.mask())}
    files["checkpoint"] = str(toy_files.checkpoint())
    done = talos("inspect", *(word.format_map(files) for word in command))
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.plain_err
    assert "Traceback" not in done.err
    assert "a bug" not in done.err
    assert list(tmp_path.iterdir()) == []
