"""Shell completion of commands, tasks, models and methods."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from talos_cli.options import complete_models, complete_tasks
from talos_engine.data.names import catalog_names
from talos_engine.data.spec import EMBEDDED_TASKS


def complete(words: str) -> list[str]:
    """What bash offers for the last word of a command line."""
    environment = {
        **os.environ,
        "_TALOS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    code = "from talos_cli.main import app; app(prog_name='talos')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return [line.split(",")[-1] for line in done.stdout.split()]


def test_the_functions_return_names_by_their_start() -> None:
    assert complete_tasks("") == sorted({*EMBEDDED_TASKS.names(), *catalog_names()})
    assert complete_tasks("di") == ["digits"]
    assert complete_tasks("mnist") == ["mnist", "mnist-full"]
    assert complete_tasks("zzz") == []
    assert complete_models("tiny") == ["tiny-clip", "tiny-t5"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("talos cali", ["calibrate"]),
        ("talos calibrate --task di", ["digits"]),
        ("talos calibrate --task resi", ["resisc45"]),
        ("talos finetune --model tiny", ["tiny-clip", "tiny-t5"]),
        ("talos negate v --control let", ["letters"]),
        ("talos calibrate --method ra", ["random"]),
        ("talos finetune --method no", ["nonlinear"]),
        ("talos add v --method s", ["sum"]),
        ("talos evaluate --ta", ["--task", "--task-file"]),
    ],
)
def test_bash_offers_names(words: str, expected: list[str]) -> None:
    assert complete(words) == expected
