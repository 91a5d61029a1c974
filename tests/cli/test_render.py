"""What people see, and that it stays off standard output."""

from __future__ import annotations

import json

import pytest

from talos_cli.render import Terminal, percent


def test_a_path_or_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(quiet=True, as_json=False).result("a.file", {"path": "a.file"})
    assert capsys.readouterr() == ("a.file\n", "")
    Terminal(quiet=True, as_json=True).result("a.file", {"path": "a.file", "live": 3})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "a.file", "live": 3}
    assert err == ""


def test_notes_tables_and_bars_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=False, as_json=False)
    terminal.note("[red]brackets[/red] are kept: --exclude '*[ab]*'")
    terminal.table("results", ("task", "%"), [("digits", 91.5), ("shapes", 80.0)])
    with terminal.progress() as progress:
        for step in range(1, 4):
            progress(f"fine-tuning, loss {1 / step:.3f}", step, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "[red]brackets[/red] are kept: --exclude '*[ab]*'" in err
    for words in ("results", "digits", "91.5", "fine-tuning", "3/3"):
        assert words in err


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True, as_json=False)
    terminal.note("hello")
    terminal.table("t", ("a",), [("b",)])
    with terminal.progress() as progress:
        progress("work", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_bars_are_closed_when_the_work_fails() -> None:
    terminal = Terminal(quiet=False, as_json=False)
    for _ in range(2):  # rich refuses a second live display while one is open
        with pytest.raises(KeyError), terminal.progress() as progress:  # noqa: PT012
            progress("work", 1, 2)
            raise KeyError


def test_tables_show_names_as_they_are_but_let_none_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(quiet=False, as_json=False)
    terminal.table("[red]", ("a[/b]",), [("w[bold]\x1b[31m\x9b2J",), ("x" * 300 + "end",)])
    err = capsys.readouterr().err
    for words in ("[red]", "a[/b]", "w[bold]", "end"):
        assert words in err, "the end of a long name matters"
    assert "\x1b[31m" not in err
    assert "\x9b" not in err


def test_percent_by_hand() -> None:
    assert [percent(value) for value in (0, 0.12345, 1, 1.0625)] == [
        "0.0",
        "12.3",
        "100.0",
        "106.2",
    ]
