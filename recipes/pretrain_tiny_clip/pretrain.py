"""Pre-training of ``tiny-clip`` from scratch: ``python recipes/pretrain_tiny_clip/pretrain.py``.

Draws a pool of captioned images, trains an open_clip CLIP on it by contrast, writes a folder that
open_clip loads (config, float16 weights, tokenizer), and prints its zero-shot accuracy on the
embedded tasks' test splits. The mixture lives in ``pool.py`` and what it names. On a machine
that others use too, set ``OMP_WAIT_POLICY=PASSIVE``: threads that spin while they wait for each
other then cost several times the time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from pool import Pool, make_pool
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from vocabulary import build_tokenizer, save_tokenizer, spelled_table, token_table
from zero_shot import measure, print_table

from talos_engine.data.spec import EMBEDDED_TASKS, IMAGES

CONTEXT = 16
SPELLED = 0.05
"""Share of captions in which one word is spelled in letters."""
PREPROCESSING = {
    "size": [32, 32],
    "mode": "RGB",
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def model_config(vocabulary: int) -> dict[str, Any]:
    """open_clip's description of the model."""
    return {
        "embed_dim": 128,
        "quick_gelu": False,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "layers": 6,
            "width": 192,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "tiny-clip",
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


class Batches:
    """Random batches of normalized, slightly shifted images with captions and targets.

    Args:
        pool: The images and captions.
        tables: Token numbers of all captions as they are and spelled, each (texts, context).
        size: Images per batch.
        seed: Seed of the order.
    """

    def __init__(
        self, pool: Pool, tables: tuple[NDArray[np.int64], NDArray[np.int64]], size: int, seed: int
    ) -> None:
        self.pool, self.tables, self.size = pool, tables, size
        self.rng = np.random.default_rng([seed, 10**6])
        self.order = np.empty(0, dtype=np.int64)
        mean, std = np.array(PREPROCESSING["mean"]), np.array(PREPROCESSING["std"])
        self.scale = (1 / (255 * std)).astype(np.float32)
        self.offset = (mean / std).astype(np.float32)

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (n, 3, 32, 32), tokens (n, context), and which caption fits which image (n, n)."""
        if len(self.order) < self.size:
            self.order = self.rng.permutation(len(self.pool.images))
        rows, self.order = self.order[: self.size], self.order[self.size :]
        images = np.pad(self.pool.images[rows], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(images, (32, 32), axis=(1, 2))
        top, left = self.rng.integers(0, 5, (2, self.size))
        cut = windows[np.arange(self.size), top, left].transpose(0, 2, 3, 1)
        pixels = np.ascontiguousarray((cut * self.scale - self.offset).transpose(0, 3, 1, 2))
        column = self.rng.integers(0, self.pool.captions.shape[1], self.size)
        captions = self.pool.captions[rows, column]
        general = self.pool.general[rows, column]
        keys = self.pool.keys[rows]
        fits = (captions[:, None] == captions) | ((keys[:, None] == keys) & general)
        spelled = self.rng.random(self.size) < SPELLED
        tokens = np.where(spelled[:, None], self.tables[1][captions], self.tables[0][captions])
        return torch.from_numpy(pixels), torch.from_numpy(tokens), torch.from_numpy(fits)


def contrastive_loss(logits: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy both ways; all captions that fit an image share its target equally.

    Args:
        logits: Image by caption, shape (n, n).
        fits: Which pairs are positives, bool, shape (n, n), true on the diagonal.
    """
    weights = fits.float()
    by_image = (weights / weights.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1)
    by_text = (weights / weights.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0)
    return -(by_image.mean() + by_text.mean()) / 2


def parameter_groups(model: CLIP, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; embeddings, biases, norms and the temperature without."""
    decayed: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or "embedding" in name
        (others if plain else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def train(model: CLIP, batches: Batches, options: argparse.Namespace) -> None:
    """Optimize the model in place, printing the loss now and then."""
    optimizer = torch.optim.AdamW(
        parameter_groups(model, options.weight_decay), lr=options.lr, betas=(0.9, 0.98), fused=True
    )
    started, smooth = time.perf_counter(), math.log(options.batch)
    model.train()
    for step in range(options.steps):
        warm = min(1.0, (step + 1) / options.warmup)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * warm * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        pixels, tokens, fits = batches.next()
        # Under autocast the fused CPU attention is many times slower than plain matrix products.
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"),
        ):
            images = model.encode_image(pixels, normalize=True)
            texts = model.encode_text(tokens, normalize=True)
        logits = model.logit_scale.exp() * images.float() @ texts.float().T
        loss = contrastive_loss(logits, fits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        smooth += 0.02 * (loss.item() - smooth)
        if (step + 1) % 100 == 0 or step + 1 == options.steps:
            passed = time.perf_counter() - started
            left = passed / (step + 1) * (options.steps - step - 1)
            print(
                f"step {step + 1}/{options.steps}  loss {smooth:.3f}  "
                f"{passed:.0f} s, {left:.0f} s to go",
                flush=True,
            )


def write_folder(model: CLIP, config: dict[str, Any], folder: Path) -> None:
    """Write the weights in float16 and the config in both forms that open_clip reads."""
    state = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    full = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_model.safetensors").chmod(0o644)
    (folder / "open_clip_config.json").write_text(json.dumps(full, indent=2) + "\n")
    (folder / "tiny-clip.json").write_text(json.dumps(config, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tiny_clip"), help="folder to write")
    parser.add_argument("--pool", type=int, default=200_000, help="number of images to draw")
    parser.add_argument("--steps", type=int, default=3800)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=300, help="steps")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Draw, train, write, measure."""
    options = parse_options()
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    pool = make_pool(options.pool, options.seed, options.threads)
    tasks = [EMBEDDED_TASKS.get(name) for name in EMBEDDED_TASKS.names()]
    tasks = [task for task in tasks if task.kind == IMAGES]
    prompts = [
        t.format(name) for task in tasks for t in task.templates for name in task.class_names
    ]
    tokenizer = build_tokenizer([*pool.texts, *prompts])
    save_tokenizer(tokenizer, options.out, CONTEXT)
    rng = np.random.default_rng([options.seed, 10**6 + 1])
    tables = (
        token_table(tokenizer, pool.texts, CONTEXT),
        spelled_table(rng, tokenizer, pool.texts, CONTEXT),
    )
    words = tokenizer.get_vocab_size()
    print(
        f"{len(pool.images)} images, {len(pool.texts)} captions, {words} tokens, "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    config = model_config(words)
    model = CLIP(**config)
    train(model, Batches(pool, tables, options.batch, options.seed), options)
    write_folder(model, config, options.out)
    seconds = time.perf_counter() - started
    table = measure(options.out)
    print_table(table)
    record = {k: v for k, v in vars(options).items() if k != "out"}
    record |= {"seconds": round(seconds), "torch": torch.__version__, "zero_shot": table}
    (options.out / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
