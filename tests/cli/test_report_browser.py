"""The page in headless Chromium: narrow and wide, light and dark, and on paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser, that of the system or that of playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
        path = found or driver.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("Chromium is not installed")
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        arguments = ["--disable-dev-shm-usage", *sandbox]  # containers have little of it
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page_file(talos: Callable[..., Any], run_folder: Any) -> Path:
    """A report whose names are long, as those of files and hashes are."""
    long = "a_very_long_name.of_a_method/" * 3
    run_folder.run["steps"][2]["command"].append("--out=" + "x" * 300)
    run_folder.results["table1"]["rows"][1]["label"] = long
    run_folder.results["cost"]["labels"][0] = long
    run_folder.results["localization"]["rows"][0] = long
    out = run_folder.path.parent / "page.html"
    done = talos("report", run_folder.write(), "-o", out)
    assert done.code == 0, done.err
    return out


OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  const inBox = e => e.closest('.scroll, pre') !== null && !e.matches('.scroll, pre');
  return [...document.querySelectorAll('body *')]
    .filter(e => !inBox(e) && !e.matches('.skip, .hidden'))
    .filter(e => e.getBoundingClientRect().right > width + 0.5)
    .map(e => e.tagName + ' ' + e.className);
}"""
CONTRAST = """() => {
  const style = getComputedStyle(document.body);
  return [style.color, style.backgroundColor];
}"""


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(chromium: Any, page_file: Path, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda each: problems.append(each.url) if each.url[:5] == "http:" else None)
    page.goto(page_file.as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []
    text, ground = page.evaluate(CONTRAST)
    light = sum(int(part) for part in ground[4:-1].split(",")) > 384
    assert light == (scheme == "light"), (text, ground)
    drawn = page.evaluate(
        "() => [...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(drawn) == 4
    assert min(drawn) > 60
    assert problems == []
    context.close()


def test_without_scripts_the_page_is_the_same(chromium: Any, page_file: Path) -> None:
    heights = []
    for scripts in (True, False):
        context = chromium.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(page_file.as_uri())
        heights.append(page.screenshot(full_page=True))
        context.close()
    assert heights[0] == heights[1]


def test_boxes_that_scroll_are_reached_by_keyboard_and_named(
    chromium: Any, page_file: Path
) -> None:
    page = chromium.new_page()
    page.goto(page_file.as_uri())
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('.scroll, pre')].map(e => [e.tabIndex, e.getAttribute('role')])"
    )
    assert boxes
    assert all(box == [0, "region"] for box in boxes)
    page.close()


def test_the_page_can_be_printed(chromium: Any, page_file: Path) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(page_file.as_uri())
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate(CONTRAST) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    page.close()
