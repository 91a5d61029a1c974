"""What ships of a run of ``pretrain.py``: ``python recipes/pretrain_tiny_t5/pack.py RUN [TARGET]``.

Writes the run's folder again with weights in float16, half the size; the shipped model is *defined*
as these values cast to float32, which ``transformers`` does by itself as the configuration says so.
Then it measures the shipped files, counts the answers that rounding changed, and fills the numbers
into the model card, if the target has one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import ByT5Tokenizer, T5ForConditionalGeneration
from zero_shot import answers, print_table, text_tasks

from talos_engine.data.spec import EMBEDDED_TASKS, TextExamples

PACKAGE = Path(__file__).parents[2] / "talos_engine" / "models" / "tiny_t5"
RECORD, CARD, WEIGHTS = "pretraining.json", "README.md", "model.safetensors"
BEGIN, END = "<!-- numbers: pack.py writes them -->", "<!-- end of numbers -->"
FILES = ("config.json", "generation_config.json", "tokenizer_config.json", WEIGHTS, RECORD)


def write_half(run: Path, target: Path) -> None:
    """Write a run's folder with weights in float16, to be loaded as float32.

    Raises:
        SystemExit: a weight is too large for float16.
    """
    model: Any = T5ForConditionalGeneration.from_pretrained(run, dtype=torch.float32)
    if not all(value.half().isfinite().all() for value in model.parameters()):
        raise SystemExit(f"{run}: a weight is too large for float16")
    target.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(target)
    ByT5Tokenizer(extra_ids=0).save_pretrained(target)
    path = target / "config.json"
    config = {**json.loads(path.read_text("utf-8")), "dtype": "float32"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    for name in FILES:
        if (target / name).exists():
            (target / name).chmod(0o644)


def measure(run: Path, target: Path) -> dict[str, Any]:
    """Accuracy, chance and answers changed by rounding, of each text task's test split."""
    load = T5ForConditionalGeneration.from_pretrained
    own, shipped = (load(each).eval() for each in (run, target))
    found: dict[str, Any] = {"zero_shot": {}, "chance": {}, "changed_by_rounding": {}}
    for name in text_tasks():
        examples = EMBEDDED_TASKS.get(name).load("test")
        assert isinstance(examples, TextExamples)
        given = answers(shipped, examples)
        right = int((given == torch.from_numpy(examples.labels)).sum())
        shares = [1 / len(choices) for choices in examples.choices]
        found["zero_shot"][name] = round(right / len(given), 6)
        found["chance"][name] = round(sum(shares) / len(shares), 4)
        found["changed_by_rounding"][name] = int((given != answers(own, examples)).sum())
    return found


def render(record: dict[str, Any]) -> str:
    """The model card's numbers as Markdown."""
    examples = record["steps"] * record["batch"]
    facts = {
        "encoder and decoder layers": f"{record['encoder_layers']} + {record['decoder_layers']}",
        "parameters": f"{record['parameters']:,}",
        "weights file": f"{record['bytes'] / 1e6:.1f} MB, float16",
        "steps, batch": f"{record['steps']:,} × {record['batch']} ({examples:,} examples)",
        "learning rate": f"{record['lr']:g}, {record['warmup']} warm-up steps, falling to 0 over "
        f"the last {record['decay']:,}",
        "weight decay, seed": f"{record['weight_decay']:g} on matrices, {record['seed']}",
        "libraries": f"torch {record['torch']}, transformers {record['transformers']}, "
        f"Python {record['python']}",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    lines += ["", "| task | chance, % | zero-shot, % |", "|---|---|---|"]
    for name, share in record["zero_shot"].items():
        control = " (control)" if EMBEDDED_TASKS.get(name).control else ""
        chance = 100 * record["chance"][name]
        lines.append(f"| `{name}`{control} | {chance:.1f} | {100 * share:.1f} |")
    changed = sum(record["changed_by_rounding"].values())
    lines += ["", f"Rounding to float16 changed {changed} of all these answers."]
    return "\n".join(lines)


def fill(card: str, record: dict[str, Any]) -> str:
    """The model card with its numbers replaced.

    Raises:
        ValueError: it has no place for them.
    """
    before, _, rest = card.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the model card lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{render(record)}\n\n{mark}{after}"


def pack(run: Path, target: Path) -> dict[str, Any]:
    """Write, measure and describe; returns what ``pretraining.json`` then holds."""
    write_half(run, target)
    record = json.loads((run / RECORD).read_text("utf-8"))
    stored = (target / WEIGHTS).read_bytes()
    record |= {"sha256": hashlib.sha256(stored).hexdigest(), "bytes": len(stored)}
    record |= {"stored_as": "float16", **measure(run, target)}
    (target / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    card = target / CARD
    if card.exists():
        card.write_text(fill(card.read_text("utf-8"), record), "utf-8")
    return record


def main() -> None:
    """Pack a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that pretrain.py has written")
    parser.add_argument("target", type=Path, nargs="?", default=PACKAGE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = pack(given.run, given.target)
    print_table(record["zero_shot"])
    print({name: count for name, count in record["changed_by_rounding"].items() if count})


if __name__ == "__main__":
    main()
