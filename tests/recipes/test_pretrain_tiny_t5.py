"""The recipe of ``tiny-t5``: what it shows, and that an interrupted run goes on to the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration

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
    shown = {mixture.draw(rng, tuple(mixture.SHARES)).text for _ in range(6000)}
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


@pytest.fixture
def packing(mixture, monkeypatch: pytest.MonkeyPatch):
    for name in ("zero_shot", "pack"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import pack

    monkeypatch.setattr(pack, "text_tasks", lambda: ["sums", "entailment"])
    yield pack
    for name in ("zero_shot", "pack"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def random_run(folder: Path) -> Path:
    config = T5Config(
        vocab_size=259, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    record = {
        "steps": 10, "batch": 4, "lr": 0.001, "warmup": 2, "decay": 3, "weight_decay": 0.01,
        "encoder_layers": 1, "decoder_layers": 1, "seed": 0, "parameters": 1234, "torch": "2.5",
        "transformers": "5", "python": "3.10", "sha256": "of another file",
    }  # fmt: skip
    (folder / "pretraining.json").write_text(json.dumps(record))
    return folder


def test_packing_halves_the_file_and_fills_the_card(packing, tmp_path: Path) -> None:
    run, target = random_run(tmp_path / "run"), tmp_path / "package"
    target.mkdir()
    (target / "README.md").write_text(f"# A model\n{packing.BEGIN}\nold\n{packing.END}\nend\n")
    record = packing.pack(run, target)
    assert json.loads((target / "pretraining.json").read_text()) == record
    assert record["seed"] == 0
    stored = load_file(target / "model.safetensors")
    model = T5ForConditionalGeneration.from_pretrained(run)
    for name, value in model.named_parameters():
        assert torch.equal(stored[name], value.half()), name
    shipped = T5ForConditionalGeneration.from_pretrained(target)
    assert all(value.dtype == torch.float32 for value in shipped.parameters())
    card = (target / "README.md").read_text()
    assert card.startswith("# A model\n")
    assert card.endswith("\nend\n")
    assert "old" not in card
    share = 100 * record["zero_shot"]["sums"]
    assert f"| `sums` | 25.0 | {share:.1f} |" in card
    assert "| `entailment` (control) | 50.0 |" in card
    assert packing.fill(card, record) == card, "filling again changes nothing"


def test_packing_refuses_what_half_precision_cannot_hold(packing, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run")
    state = load_file(run / "model.safetensors")
    state["shared.weight"][0, 0] = 1e6
    save_file(state, run / "model.safetensors", {"format": "pt"})
    with pytest.raises(SystemExit, match="too large for float16"):
        packing.pack(run, tmp_path / "package")
    assert not (tmp_path / "package").exists()
    with pytest.raises(ValueError, match="lacks"):
        packing.fill("# no place", {})
