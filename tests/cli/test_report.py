"""``talos report``: one HTML page, well-formed, accessible, escaped, the same every time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import html5lib
import pytest

HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</title></style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$\\frac$"
)


def write(talos: Callable[..., Any], folder: Path, *more: str) -> bytes:
    out = folder.parent / "page.html"
    done = talos("report", folder, "-o", out, *more)
    assert (done.code, done.out) == (0, f"{out}\n"), done.err
    return out.read_bytes()


def parse(page: bytes) -> ElementTree.Element:
    """The page as a browser builds it; any error of syntax fails."""
    parser = html5lib.HTMLParser(strict=True, tree=html5lib.getTreeBuilder("etree"))
    return parser.parse(page)


def tags(root: ElementTree.Element, *names: str) -> list[ElementTree.Element]:
    wanted = {prefix + name for name in names for prefix in (HTML, SVG)}
    return [element for element in root.iter() if element.tag in wanted]


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture
def page(talos: Callable[..., Any], run_folder: Any) -> ElementTree.Element:
    return parse(write(talos, run_folder.write()))


def test_the_page_has_a_language_a_title_and_headings_in_order(page: ElementTree.Element) -> None:
    assert page.get("lang") == "en"
    assert text(tags(page, "title")[0]) == "Table 1 on tiny-clip"
    levels = [int(element.tag[-1]) for element in tags(page, "h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_links_and_labels_lead_somewhere(page: ElementTree.Element) -> None:
    ids = Counter(element.get("id") for element in page.iter() if element.get("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    links = [element.get("href", "") for element in tags(page, "a")]
    assert links
    assert all(link[1:] in ids for link in links)
    for element in page.iter():
        for name in (element.get("aria-labelledby") or "").split():
            assert name in ids
        for target in re.findall(r"url\(#([^)]+)\)", " ".join(map(str, element.attrib.values()))):
            assert target in ids
    for element in tags(page, "use"):
        assert element.attrib["{http://www.w3.org/1999/xlink}href"][1:] in ids


def test_nothing_is_fetched_and_nothing_runs(page: ElementTree.Element) -> None:
    assert tags(page, "script", "link", "iframe", "object", "embed", "form") == []
    for element in page.iter():
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            if name.rpartition("}")[2] in ("src", "href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
    assert "@import" not in text(tags(page, "style")[0])


def test_tables_have_captions_and_scopes(page: ElementTree.Element) -> None:
    tables = tags(page, "table")
    assert len(tables) > 3
    for table in tables:
        assert text(tags(table, "caption")[0])
        assert all(element.get("scope") for element in tags(table, "th"))
        assert tags(table, "th")
        widths = {
            sum(int(cell.get("colspan", "1")) for cell in tags(row, "th", "td"))
            for row in tags(table, "tr")
        }
        assert len(widths) == 1, "every row has as many cells"


def test_pictures_have_words(page: ElementTree.Element) -> None:
    drawings = [element for element in tags(page, "svg") if element.get("role") == "img"]
    assert len(drawings) == len(tags(page, "svg")) == 4
    for drawing in drawings:
        title = next(iter(drawing))
        assert title.tag == f"{SVG}title"
        assert title.get("id") == drawing.get("aria-labelledby")
        assert text(title)
    assert [image.get("alt") for image in tags(page, "img")] == ["A grey square."]


def table_rows(page: ElementTree.Element, caption: str) -> list[list[str]]:
    table = next(t for t in tags(page, "table") if caption in text(tags(t, "caption")[0]))
    return [[text(cell) for cell in tags(row, "th", "td")] for row in tags(table, "tr")]


def test_our_numbers_and_the_papers_stand_apart(page: ElementTree.Element) -> None:
    groups, headings, zero, _, talos_row = table_rows(page, "Test accuracy of one model")
    assert groups == ["", "here: tiny-clip", "paper: ViT-B-32"]
    assert headings[1:] == [
        "absolute, % ↑",
        "normalized, % ↑",
        "α",
        "absolute, % ↑",
        "normalized, % ↑",
    ]
    assert zero == ["zero-shot", "56.7 [55.0–58.0]", "–", "–", "47.72", "–"]
    assert talos_row == ["talos", "67.2 ± 0.4", "80.5★ ± 0.4", "0.380 ± 0.004", "79.67★", "90.73★"]
    shown = text(page)
    assert "differ in scale" in shown
    strong = [text(element) for element in tags(page, "strong")]
    assert {"69.8", "80.5", "79.67", "90.73"} <= set(strong)
    stars = [e for e in tags(page, "span") if e.get("class") == "star"]
    assert {star.get("aria-label") for star in stars} == {"best of its column"}


def test_failed_steps_and_provenance_are_told(page: ElementTree.Element) -> None:
    shown = text(page)
    for part in ("2 done, 1 failed, 1 pending", "there is no task 'mnist'", "cd" * 32, "8.0 GiB",
                 "talos calibrate --task mnist --threads 1", "3.11.2"):  # fmt: skip
        assert part in shown


def strings(content: Any) -> Iterator[tuple[Any, Any]]:
    """Places of a JSON value that hold text for people: container and key."""
    places = content.items() if isinstance(content, dict) else enumerate(content)
    fixed = {"kind", "state", "key", "better", "file", "log", "unit", "id", "schema", "record",
             "recipe_hash", "steps"}  # fmt: skip
    for key, value in list(places):
        if isinstance(value, (dict, list)):
            yield from strings(value)
        elif isinstance(value, str) and key not in fixed:
            yield content, key


def test_text_from_files_is_only_ever_text(talos: Callable[..., Any], run_folder: Any) -> None:
    folder = run_folder
    for content in (folder.run, *folder.results.values()):
        for container, key in list(strings(content)):
            container[key] = HOSTILE
    for axis in ("rows", "columns"):
        folder.results["xi"][axis] = [f"{HOSTILE}{i}" for i in range(10)]
    folder.logs["calibrate.mnist"] = HOSTILE
    folder.run["steps"][2]["id"] = HOSTILE
    folder.run["settings"][HOSTILE] = HOSTILE
    data = write(talos, folder.write())
    root = parse(data)
    test_nothing_is_fetched_and_nothing_runs(root)
    assert text(tags(root, "h1")[0]) == " ".join(HOSTILE.split())
    assert len(tags(root, "img")) == 1
    assert len(tags(root, "style")) == 1 + sum(len(tags(svg, "style")) for svg in tags(root, "svg"))
    assert b"<script" not in data


def test_control_characters_and_odd_scripts(talos: Callable[..., Any], run_folder: Any) -> None:
    odd = "a\x00\x1b[1m\u202e\ud800 数字 😀"
    run_folder.run["title"] = odd
    run_folder.results["cost"]["labels"] = [odd, "$x_{1}"]
    run_folder.results["curve"]["series"][0]["label"] = odd
    root = parse(write(talos, run_folder.write()))
    assert text(tags(root, "h1")[0]) == "a\ufffd\ufffd[1m\ufffd\ufffd 数字 😀"
    assert "$x_{1}" in text(root)


def test_the_same_folder_gives_the_same_bytes(
    talos: Callable[..., Any], talos_process: Callable[..., Any], run_folder: Any
) -> None:
    folder = run_folder.write()
    first = write(talos, folder)
    assert write(talos, folder, "--force") == first
    other = folder.parent / "other.html"
    assert talos_process("report", folder, "-o", other, "--quiet").code == 0
    assert other.read_bytes() == first
    assert re.search(rb"20\d\d-\d\d-\d\d", first) is None, "no date"


def test_existing_files_are_kept_and_nothing_is_left_after_an_error(
    talos: Callable[..., Any], run_folder: Any
) -> None:
    folder = run_folder.write()
    out = folder.parent / "page.html"
    out.write_text("mine")
    done = talos("report", folder, "-o", out)
    assert done.code == 1
    assert "exists already" in done.err
    assert out.read_text() == "mine"
    (folder / "results" / "curve.json").write_text("{")
    done = talos("report", folder, "-o", folder.parent / "new.html")
    assert done.code == 1
    assert "curve.json" in done.err
    assert "Traceback" not in done.err
    assert sorted(p.name for p in folder.parent.iterdir() if p.name != "run") == ["page.html"]


def test_json_tells_what_was_written(talos: Callable[..., Any], run_folder: Any) -> None:
    done = talos("report", run_folder.write(), "--json", "--quiet")
    found = json.loads(done.out)
    assert found["path"] == "report.html"
    assert found["title"] == "Table 1 on tiny-clip"
    assert found["sections"][:2] == ["Not finished", "Task addition"]
    assert Path("report.html").stat().st_size == found["bytes"]
    assert done.err == ""


def test_folders_without_anything_are_errors(talos: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        done = talos("report", name)
        assert done.code == 1
        assert name in done.err
    assert not Path("report.html").exists()


def test_a_folder_of_files_is_a_page_too(
    talos: Callable[..., Any], toy_files: Any, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "files"
    folder.mkdir()
    for task in "ab":
        shutil.copy(toy_files.mask(task), folder / f"{task}.mask.safetensors")
    done = talos("evaluate", "--model", "toy-clip", "--task", "toy-a", "-o", folder / "zero.json")
    assert done.code == 0, done.err
    root = parse(write(talos, folder))
    assert [text(e) for e in tags(root, "h2")] == [
        "Contents",
        "Accuracy",
        "Masks",
        "How it was made",
    ]
    assert len(tags(root, "svg")) == 3
    (row,) = [r for r in table_rows(root, "Share of the test examples") if "itself" in r[0]]
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d–\d+\.\d\] \d+ of 48", row[-1])
