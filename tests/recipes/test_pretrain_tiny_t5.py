"""The recipe of ``tiny-t5``: what it shows, and that an interrupted run goes on to the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import ByT5Tokenizer

from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS

FOLDER = Path(__file__).parents[2] / "recipes" / "pretrain_tiny_t5"
CODE = """
import argparse, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pretrain, torch
torch.set_num_threads(1)
options = argparse.Namespace(
    out=Path(sys.argv[2]), steps=int(sys.argv[3]), batch=4, lr=1e-3, warmup=2, decay=2,
    weight_decay=0.01, encoder_layers=1, decoder_layers=1, precision="fp32", save_every=2, seed=0)
options.out.mkdir(exist_ok=True)
record = {key: value for key, value in vars(options).items() if key != "out"}
model = pretrain.make_model(options)
stop = int(sys.argv[4])
if stop:
    source = pretrain.batches
    def some(*given):
        for number, batch in enumerate(source(*given)):
            if number == stop:
                raise SystemExit
            yield batch
    pretrain.batches = some
pretrain.train(model, options, record)
pretrain.write_folder(model, options.out)
"""


@pytest.fixture
def mixture(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "mixture", raising=False)
    import mixture

    yield mixture
    monkeypatch.delitem(sys.modules, "mixture", raising=False)


def test_tokens_are_those_of_the_tokenizer(mixture) -> None:
    tokenizer = ByT5Tokenizer(extra_ids=0)
    for text in ("ann fed tom.", "é + ß ="):
        assert mixture.tokens(text) == tokenizer(text)["input_ids"]


def test_a_batch_depends_on_seed_and_number_alone(mixture) -> None:
    straight = mixture.batches(0, 4, 0)
    for _ in range(mixture.BLOCK + 2):
        next(straight)
    later = mixture.batches(0, 4, mixture.BLOCK + 2)
    for _ in range(3):
        for one, other in zip(next(straight), next(later), strict=True):
            assert torch.equal(one, other)


def test_the_mixture_shows_no_text_of_a_split(mixture) -> None:
    import random

    rng = random.Random(3)
    shown = {mixture.draw(rng).text for _ in range(6000)}
    for name in EMBEDDED_TASKS.names():
        task = EMBEDDED_TASKS.get(name)
        if task.kind == TEXTS:
            for split in ("train", "test"):
                assert not shown & set(task.load(split).texts), name


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    def run(name: str, steps: int, stop: int = 0) -> Path:
        folder = tmp_path / name
        subprocess.run(
            [sys.executable, "-c", CODE, FOLDER, folder, str(steps), str(stop)],
            check=True, capture_output=True, timeout=240,
        )  # fmt: skip
        return folder

    straight = run("straight", 6)
    run("broken", 8, stop=3)  # saved after step 2, before the rate falls: steps may still change
    assert (tmp_path / "broken" / "unfinished.safetensors").exists()
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    broken = run("broken", 6)
    assert not (broken / "unfinished.safetensors").exists()
    for name in ("model.safetensors", "config.json"):
        assert (broken / name).read_bytes() == (straight / name).read_bytes()
