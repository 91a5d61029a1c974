"""Bad input: one short message, the right exit code, no traceback, no partial output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALIBRATE = ("calibrate", "--model", "toy-clip", "--task", "toy-a", "--sparsity", "0.9")
EVALUATE = ("evaluate", "--model", "toy-clip", "--task", "toy-a")
FINETUNE = ("finetune", "--model", "toy-clip", "--task", "toy-a", "--method", "nonlinear")


def damaged(files: Any, scores: Path, tmp_path: Path) -> dict[str, Path]:
    """Files that are not what they should be, outside of the working folder."""
    folder = tmp_path.parent / f"{tmp_path.name}-damaged"
    folder.mkdir()
    vector, mask, checkpoint = files.vector("a"), files.mask("a"), files.checkpoint("a")
    contents = {
        "empty": b"",
        "text": b"hello, world\n" * 10,
        "vector cut": vector.read_bytes()[:-9],
        "mask cut": mask.read_bytes()[: mask.stat().st_size // 2],
        "checkpoint cut": checkpoint.read_bytes()[:5000],
        "checkpoint flipped": checkpoint.read_bytes()[:-9] + b"\x7f" + checkpoint.read_bytes()[-8:],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {
        **{name: folder / name for name in contents},
        "vector": vector,
        "mask": mask,
        "checkpoint": checkpoint,
        "scores": scores,
        "missing": folder / "missing",
        "folder": folder,
    }


CASES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    # exit code, words of the message, command; {NAME} is a file
    "unknown task": (1, "no task named 'toys'", ("calibrate", "--model", "toy-clip", "--task", "toys", "--sparsity", "0.9")),
    "unknown model": (1, "no model named 'tiny-clop'", ("calibrate", "--model", "tiny-clop", "--task", "toy-a", "--sparsity", "0.9")),
    "unknown mask rule": (2, "magic", (*CALIBRATE, "--method", "magic")),
    "unknown fine-tuning method": (2, "magic", (*FINETUNE[:-1], "magic")),
    "unknown merging method": (2, "average", ("add", "{vector}", "--coef", "1", "--method", "average")),
    "sparsity 1": (2, "--sparsity must lie in [0, 1)", (*CALIBRATE[:-1], "1")),
    "sparsity above 1": (2, "--sparsity", (*CALIBRATE[:-1], "1.5")),
    "sparsity below 0": (2, "--sparsity", (*CALIBRATE[:-1], "-0.1")),
    "sparsity nan": (2, "--sparsity", (*CALIBRATE[:-1], "nan")),
    "sparsity no number": (2, "'0.5,x' is not a number", (*CALIBRATE[:-1], "0.5,x")),
    "sparsity list with a gap": (2, "is not a number", (*CALIBRATE[:-1], "0.5,,0.9")),
    "sparsity list with rounds": (2, "add --rounds 1", (*CALIBRATE[:-1], "0.5,0.9")),
    "sparsity twice": (2, "twice", (*CALIBRATE[:-1], "0.5,0.9,0.50", "--rounds", "1")),
    "sparsity list out of range": (2, "--sparsity must lie in [0, 1)", (*CALIBRATE[:-1], "0.5,1", "--rounds", "1")),
    "one file for several masks": (2, "{sparsity}", (*CALIBRATE[:-1], "0.5,0.9", "--rounds", "1", "-o", "m")),
    "scope": (2, "no scope named 'row'", (*CALIBRATE, "--scope", "row")),
    "option of another rule": (2, "--lota-steps is not an option of method 'magnitude'", (*CALIBRATE, "--method", "magnitude", "--lota-steps", "3")),
    "magnitude end": (2, "--magnitude-keep must be one of lowest, highest", (*CALIBRATE, "--method", "magnitude", "--magnitude-keep", "middle")),
    "lota breaks down": (1, "the loss became", (*CALIBRATE, "--method", "lota", "--lota-lr", "1e38")),
    "scores of a lota mask": (2, "no scores", (*CALIBRATE, "--method", "lota", "--save-scores", "x")),
    "foreign option": (2, "--rounds is not an option of method 'random'", (*CALIBRATE, "--method", "random", "--rounds", "3")),
    "pattern without match": (2, "matches no maskable", (*CALIBRATE, "--exclude", "*nothing*")),
    "seed below 0": (2, "--seed", (*CALIBRATE, "--seed", "-1")),
    "seed too large": (2, "--seed", (*FINETUNE, "--seed", str(2**64))),
    "device": (2, "unknown device 'gpu'", (*FINETUNE, "--device", "gpu")),
    "dtype": (2, "unknown dtype 'int4'", (*FINETUNE, "--dtype", "int4")),
    "lr 0": (2, "--lr", (*FINETUNE, "--lr", "0")),
    "schedule": (2, "--schedule", (*FINETUNE, "--schedule", "linear")),
    "mask of another model": (1, "another base", ("finetune", "--model", "toy-other", "--task", "toy-a", "--method", "talos", "--mask", "{mask}")),
    "mask needed": (2, "needs --mask", (*FINETUNE[:-1], "talos")),
    "mask not wanted": (2, "--mask does not go", (*FINETUNE, "--mask", "{mask}")),
    "truncated mask": (1, "mask cut", (*FINETUNE[:-1], "talos", "--mask", "{mask cut}")),
    "truncated vector": (1, "vector cut", ("add", "{vector cut}", "--coef", "1")),
    "truncated checkpoint": (1, "checkpoint cut", ("vector", "--finetuned", "{checkpoint cut}")),
    "flipped bit": (1, "checkpoint flipped", ("evaluate", "{checkpoint flipped}", "--task", "toy-a")),
    "empty file": (1, "empty", ("evaluate", "{empty}", "--task", "toy-a")),
    "text file": (1, "text", ("negate", "{text}", "--coef", "1")),
    "missing file": (1, "no file", ("vector", "--finetuned", "{missing}")),
    "a folder": (2, "does not tell its base", ("vector", "--finetuned", "{folder}")),
    "a folder of nothing": (1, "folder", ("vector", "--model", "toy-clip", "--finetuned", "{folder}")),
    "mask where vector": (1, "a task vector was expected", ("add", "{mask}", "--coef", "1")),
    "vector where checkpoint": (1, "a checkpoint was expected", ("vector", "--finetuned", "{vector}")),
    "vector where mask": (1, "a mask was expected", (*FINETUNE[:-1], "talos", "--mask", "{vector}")),
    "vector where model": (1, "a checkpoint was expected", ("evaluate", "--model", "{vector}", "--task", "toy-a")),
    "checkpoint where vectors": (1, "a task vector was expected", ("disentangle", "{checkpoint}", "{vector}")),
    "too few coefficients": (2, "once per vector (3)", ("add", "{vector}", "{vector}", "{vector}", "--coef", "1", "--coef", "2")),
    "no coefficient": (2, "--coef must be given", ("add", "{vector}")),
    "coefficient nan": (2, "finite", ("add", "{vector}", "--coef", "nan")),
    "coefficient and search": (2, "exclude each other", ("add", "{vector}", "--coef", "1", "--search")),
    "negate without coefficient": (2, "--coef X or --search", ("negate", "{vector}")),
    "negate without control": (2, "--control", ("negate", "{vector}", "--search")),
    "option of another merging method": (2, "--ties-density is not an option of method 'dare'", ("add", "{vector}", "--coef", "1", "--method", "dare", "--ties-density", "0.2")),
    "dialect of a method without": (2, "--dialect is not an option of method 'sum'", ("add", "{vector}", "--coef", "1", "--dialect", "mergekit")),
    "unknown dialect": (2, "--dialect must be one of official, mergekit", ("add", "{vector}", "--coef", "1", "--method", "ties", "--dialect", "peft")),
    "unknown scope": (2, "--scope must be one of global, tensor, row", ("negate", "{vector}", "--coef", "1", "--method", "breadcrumbs", "--scope", "layer")),
    "scope of dare": (2, "--scope is not an option of method 'dare'", ("add", "{vector}", "--coef", "1", "--method", "dare", "--scope", "row")),
    "density above 1": (2, "--ties-density must lie in [0, 1]", ("add", "{vector}", "--coef", "1", "--method", "ties", "--ties-density", "2")),
    "everything dropped": (2, "--dare-drop must lie in [0, 1)", ("negate", "{vector}", "--coef", "1", "--method", "dare", "--dare-drop", "1")),
    "too few for a consensus": (2, "--consensus-threshold 2 needs as many vectors", ("add", "{vector}", "--coef", "1", "--method", "consensus")),
    "others of no use": (2, "--with does not go with --method sum", ("negate", "{vector}", "--coef", "1", "--with", "{vector}")),
    "other that is no vector": (1, "a task vector was expected", ("negate", "{vector}", "--coef", "1", "--method", "ties", "--with", "{mask}")),
    "one task twice for tall": (2, "needs vectors of different tasks", ("add", "{vector}", "{vector}", "--coef", "1", "--method", "tall")),
    "no folder for tall": (1, "there is no folder nowhere", ("add", "{vector}", "--coef", "1", "--method", "tall", "-o", "nowhere/models")),
    "task for tall": (2, "leave --task out", ("add", "{vector}", "--search", "--method", "tall", "--task", "toy-b")),
    "keep": (2, "--keep", ("negate", "{vector}", "--search", "--control", "toy-b", "--keep", "2")),
    "grid": (2, "fine", ("add", "{vector}", "--search", "--grid", "fine")),
    "split": (2, "validation", ("evaluate", "--model", "toy-clip", "--task", "toy-a", "--split", "validation")),
    "matrix of nothing": (2, "none is given", (*EVALUATE, "--matrix")),
    "bound of nothing": (2, "--bound measures", (*EVALUATE, "--bound", "4")),
    "matrix of an edit": (2, "or --bound", (*EVALUATE, "--matrix", "--prune-lowest", "{scores}", "0.1")),
    "mask where scores": (1, "a scores file was expected", (*EVALUATE, "--prune-lowest", "{mask}", "0.1")),
    "scores of another model": (1, "another base", ("evaluate", "--model", "toy-other", *EVALUATE[3:], "--prune-lowest", "{scores}", "0.1")),
    "no scores file": (1, "no file", (*EVALUATE, "--perturb-lowest", "{missing}", "0.1")),
    "prune a linearization": (2, "--linearize, --matrix or --bound", (*EVALUATE, "--linearize", "--prune-lowest", "{scores}", "0.1")),
    "prune nothing": (2, "(0, 1], not 0", (*EVALUATE, "--prune-lowest", "{scores}", "0")),
    "prune too much": (2, "(0, 1], not 1.5", (*EVALUATE, "--perturb-lowest", "{scores}", "1.5")),
    "prune a word": (2, "'much' is not a number", (*EVALUATE, "--prune-lowest", "{scores}", "much")),
    "prune without a fraction": (2, "requires 2 arguments", (*EVALUATE, "--prune-lowest", "{scores}")),
    "prune a checkpoint": (2, "take no checkpoint", ("evaluate", "{checkpoint}", *EVALUATE[1:], "--prune-lowest", "{scores}", "0.1")),
    "prune with single": (2, "take no checkpoint", (*EVALUATE, "--single", "{checkpoint}", "--prune-lowest", "{scores}", "0.1")),
    "seed without noise": (2, "--seed is for --perturb-lowest and --bound", (*EVALUATE, "--prune-lowest", "{scores}", "0.1", "--seed", "1")),
    "plot of a plain evaluation": (2, "--plot draws", (*EVALUATE, "--plot", "x.png")),
    "picture of another format": (2, "does not end in .png", (*EVALUATE, "--prune-lowest", "{scores}", "0.1", "--plot", "x.jpg")),
    "plot and out the same": (2, "same file", (*EVALUATE, "--prune-lowest", "{scores}", "0.1", "--plot", "x.png", "-o", "x.png")),
    "no model": (2, "no model given", ("evaluate", "--task", "toy-a")),
    "task twice": (2, "twice", ("evaluate", "--model", "toy-clip", "--task", "toy-a", "--task", "toy-a")),
    "one task for two vectors": (2, "given twice", ("disentangle", "{vector}", "{vector}", "--task", "toy-a")),
    "same task twice": (2, "two different tasks", ("disentangle", "{vector}", "{vector}")),
    "missing output folder": (1, "no folder", (*CALIBRATE, "-o", "nowhere/m")),
    "output is a folder": (1, "does not name a file", (*CALIBRATE, "-o", ".")),
    "same output twice": (2, "same file", (*CALIBRATE, "-o", "x", "--save-scores", "x")),
    "scores of a random mask": (2, "no scores", (*CALIBRATE, "--method", "random", "--save-scores", "x")),
    "unknown profile method": (2, "magic", ("profile", "--model", "toy-clip", "--task", "toy-a", "--methods", "talos,magic")),
    "profile of nothing": (2, "--methods", ("profile", "--model", "toy-clip", "--task", "toy-a", "--methods", ",")),
    "learning rate breaks down": (1, "the loss became nan at step 2", (*FINETUNE, "--lr", "1e30", "--warmup", "0", "--steps", "3")),
    "no batch to accumulate": (2, "--grad-accum", (*FINETUNE, "--grad-accum", "0")),
    "smoothing of everything": (2, "--label-smoothing", (*FINETUNE, "--label-smoothing", "1")),
    "measuring for nothing": (2, "--early-stop", (*FINETUNE, "--validate-every", "3")),
    "checkpoints below 0": (2, "--checkpoint-every", (*FINETUNE, "--checkpoint-every", "-1")),
    "log over the output": (2, "--out and --log name the same file", (*FINETUNE, "-o", "c", "--log", "c")),
    "drift without a log": (2, "--log-drift writes into the log", (*FINETUNE, "--log-drift", "2")),
    "rank of another method": (2, "--rank is not an option of method 'nonlinear'", (*FINETUNE, "--rank", "4")),
    "rank too large": (2, "--rank must be at most 16", (*FINETUNE[:-1], "l-lora", "--rank", "17")),
    "mask of another rule": (2, "this one is of talos", (*FINETUNE[:-1], "lota", "--mask", "{mask}")),
    "missing config": (2, "nowhere.toml", (*CALIBRATE, "--config", "nowhere.toml")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_message_the_right_code_and_nothing_written(
    talos: Callable[..., Any], toy_files: Any, toy_scores: Path, tmp_path: Path, case: str
) -> None:
    code, words, command = CASES[case]
    files = damaged(toy_files, toy_scores, tmp_path)
    done = talos(*(word.format_map(files) if "{" in word else word for word in command))
    assert done.code == code, done.err
    assert words in done.plain_err
    assert done.out == "", "no result"
    assert "Traceback" not in done.err
    assert "a bug" not in done.err
    assert len(done.err.splitlines()) <= 8, "one short block"
    assert len(done.err) < 1000
    assert list(tmp_path.iterdir()) == [], "no partial file, no temporary"


def test_debug_shows_where(talos: Callable[..., Any]) -> None:
    done = talos(*CALIBRATE[:-1], "1.5", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "OptionError" in done.err
    assert "--sparsity" in done.err


def test_what_nobody_expected_is_one_message_too(
    talos: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_engine.workflows import calibrate

    def fail(*_: object) -> None:
        raise ZeroDivisionError("float division\nby zero")

    monkeypatch.setattr(calibrate, "load_weights", fail)
    done = talos(*CALIBRATE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("talos: unexpected ZeroDivisionError: float division\n")
    assert "--debug" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")], ids=repr
)
def test_out_of_memory_says_what_to_try(
    talos: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from talos_engine.workflows import finetune

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(finetune, "train", fail)
    done = talos(*FINETUNE)
    assert done.code == 1
    assert "out of memory" in done.err
    assert "--batch-size" in done.err
    assert "a bug" not in done.err


@pytest.mark.parametrize(
    ("error", "code", "word"), [(KeyboardInterrupt, 130, "interrupted")], ids=["SIGINT"]
)
def test_an_interrupt_in_the_middle_leaves_nothing(
    talos: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    code: int,
    word: str,
) -> None:
    from talos_engine.training import loop

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "_take_step", fail)
    done = talos(*FINETUNE)
    assert (done.code, done.out) == (code, "")
    assert word in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []
