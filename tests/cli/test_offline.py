"""With ``HF_HUB_OFFLINE=1`` no command asks the network; what is missing is one message each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import contextlib, io, json, socket, sys
attempts = []
def refuse(*arguments, **named):
    attempts.append(repr(arguments))
    raise OSError("the network was asked")
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
from talos_cli.main import main
found = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["talos", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
    found.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
print(json.dumps({"runs": found, "attempts": attempts}))
"""
CALIBRATE = ("calibrate", "--sparsity", "0.9", "-o", "m")
MISSING = {
    ("--model", "ViT-B-32", "--task", "dtd"): ("--pretrained openai=FILE", "--data", "tiny-clip"),
    ("--model", "hf-hub:laion/some-clip", "--task", "digits"): ("--model FOLDER", "tiny-clip"),
    ("--model", "t5-small", "--task", "rte"): ("--model FOLDER", "--data", "tiny-t5"),
    ("--model", "google/flan-t5-base", "--task", "sums"): ("--model FOLDER", "tiny-t5"),
    ("--model", "openai/clip-vit-base-patch32", "--task", "digits"): (
        "CLIP, with --model FOLDER",
        "tiny-clip",
    ),
    ("--model", "google/flan-t5-base", "--task", "rte"): ("--model FOLDER", "--data"),
    ("--model", "tiny-clip", "--task", "dtd"): ("--data",),
}


def test_nothing_is_asked_and_every_way_on_is_told(tmp_path: Path) -> None:
    words = [[*CALIBRATE, *given] for given in MISSING] + [["tasks"], ["models", "--all"]]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(words)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["attempts"] == []
    *missing, tasks, models = found["runs"]
    for given, ways, run in zip(MISSING, MISSING.values(), missing, strict=True):
        assert (run["code"], run["out"]) == (1, ""), given
        assert run["err"].count("talos: ") == 1, "one message"
        assert "HF_HUB_OFFLINE is set" in run["err"]
        for way in (*ways, "network"):
            assert way in run["err"], given
    assert (tasks["code"], models["code"]) == (0, 0)
    assert not list(tmp_path.iterdir()), "nothing was written"
