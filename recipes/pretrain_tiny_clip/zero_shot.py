"""Zero-shot accuracy of a shipped folder, loaded through open_clip alone as any user would.

``python recipes/pretrain_tiny_clip/zero_shot.py FOLDER`` prints it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import open_clip
import torch

from talos_engine.data.spec import EMBEDDED_TASKS, IMAGES, TaskSpec


@torch.inference_mode()
def accuracy(model: Any, tokenizer: Any, task: TaskSpec, split: str) -> float:
    """Share of the split's images whose nearest class is the right one.

    Args:
        model: An open_clip CLIP.
        tokenizer: Its tokenizer.
        task: The task; the prompts of a class are averaged.
        split: ``"train"`` or ``"test"``.
    """
    prompts = [t.format(name) for name in task.class_names for t in task.templates]
    text = model.encode_text(tokenizer(prompts), normalize=True)  # (classes * templates, embedding)
    head = text.view(len(task.class_names), len(task.templates), -1).mean(1)
    head = torch.nn.functional.normalize(head, dim=-1)
    examples = task.load(split)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    pixels = torch.from_numpy(examples.images).permute(0, 3, 1, 2).float() / 255
    features = model.encode_image((pixels - mean) / std, normalize=True)  # (n, embedding)
    right = (features @ head.T).argmax(1) == torch.from_numpy(examples.labels)
    return float(right.float().mean())


def measure(folder: Path, split: str = "test") -> dict[str, float]:
    """Accuracy by task for every image task whose data is on this machine."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    tasks = [EMBEDDED_TASKS.get(name) for name in EMBEDDED_TASKS.names()]
    tasks = [task for task in tasks if task.kind == IMAGES and task.available()]
    return {task.name: accuracy(model, tokenizer, task, split) for task in tasks}


def print_table(table: dict[str, float]) -> None:
    """Print one line per task."""
    for task, share in table.items():
        print(f"{task:10s} {100 * share:5.1f}%")


if __name__ == "__main__":
    print_table(measure(Path(sys.argv[1])))
