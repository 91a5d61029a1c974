"""Accuracy of a T5 folder on the embedded text tasks, through transformers alone.

``python recipes/pretrain_tiny_t5/zero_shot.py FOLDER`` prints it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from mixture import pad, tokens

from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS, TextExamples


@torch.inference_mode()
def answers(model: Any, examples: TextExamples, size: int = 100) -> torch.Tensor:
    """Position of the likeliest answer of each example, int64 of shape (n,).

    Args:
        model: A ``T5ForConditionalGeneration`` over bytes.
        examples: Texts with equally many answers each.
        size: Examples at once.
    """
    found = []
    for first in range(0, len(examples.texts), size):
        rows = slice(first, first + size)
        texts = pad([tokens(each) for each in examples.texts[rows]], 0)
        each = [tokens(choice) for choices in examples.choices[rows] for choice in choices]
        labels = pad(each, -100)  # (n * answers, length)
        count = len(labels) // len(texts)
        seen = (texts != 0).long()
        hidden = model.encoder(input_ids=texts, attention_mask=seen).last_hidden_state
        logits = model(
            encoder_outputs=(hidden.repeat_interleave(count, 0),),
            attention_mask=seen.repeat_interleave(count, 0),
            labels=labels,
        ).logits
        told = -torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), labels, reduction="none"
        ).sum(1)
        found.append(told.view(len(texts), count).argmax(1))
    return torch.cat(found)


def accuracy(model: Any, examples: TextExamples) -> float:
    """Share of examples whose likeliest answer is the right one."""
    right = answers(model, examples) == torch.from_numpy(examples.labels)
    return float(right.float().mean())


def text_tasks() -> list[str]:
    """The embedded tasks that are texts."""
    return [name for name in EMBEDDED_TASKS.names() if EMBEDDED_TASKS.get(name).kind == TEXTS]


def measure(model: Any, split: str = "test") -> dict[str, float]:
    """Accuracy by task."""
    found = {}
    for name in text_tasks():
        examples = EMBEDDED_TASKS.get(name).load(split)
        assert isinstance(examples, TextExamples)
        found[name] = accuracy(model, examples)
    return found


def print_table(table: dict[str, float]) -> None:
    """Print one line per task."""
    for task, share in table.items():
        print(f"{task:10s} {100 * share:5.1f}%", flush=True)


if __name__ == "__main__":
    from transformers import T5ForConditionalGeneration

    print_table(measure(T5ForConditionalGeneration.from_pretrained(Path(sys.argv[1])).eval()))
