"""Pre-training of ``tiny-t5`` from scratch: ``python recipes/pretrain_tiny_t5/pretrain.py``.

Trains a T5 over bytes on the mixture of ``mixture.py``, writes a folder that transformers loads
(configuration, weights, tokenizer), and prints its zero-shot accuracy on the embedded text tasks'
test splits. A run that was interrupted goes on where it last saved: call it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from mixture import batches
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration
from zero_shot import measure, print_table

STATE = "unfinished.safetensors"
POSITIONS = "relative_attention_bias"
HEADS, HEAD_WIDTH = 8, 16
NEIGHBOURS = (1, 2, 17, 18)
"""Buckets of the positions one and two before and after: where the first heads look at first, since
bytes mean nothing before they are joined to words."""
NEAR = (*range(8), *range(17, 24))
"""Buckets of the position itself and of those up to seven away: where the other heads do not look
at first: a word that is repeated stands further away, and nothing is more like it than itself."""
NEARNESS = 3.0
"""What is added to, or taken from, the position biases of these buckets."""
LIKENESS = 0.3
"""Queries of those other heads, from the second layer on, begin as this multiple of their keys:
they look for what is like themselves."""
FASTER = 10.0
"""Factor on the learning rate of position biases: they have to grow to a few units, which Adam's
steps at the other parameters' rate would take thousands of steps for."""


def make_model(options: argparse.Namespace) -> Any:
    """The model with random weights, the encoder's heads inclined to what they are for."""
    config = T5Config(
        vocab_size=256 + 3,
        d_model=128,
        d_kv=HEAD_WIDTH,
        d_ff=512,
        num_layers=options.encoder_layers,
        num_decoder_layers=options.decoder_layers,
        num_heads=HEADS,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(options.seed)
    model = T5ForConditionalGeneration(config)
    (bias,) = (value for name, value in model.encoder.named_parameters() if POSITIONS in name)
    with torch.no_grad():
        for head, bucket in enumerate(NEIGHBOURS):
            bias[bucket, head] += NEARNESS
        far = len(NEIGHBOURS)
        bias[list(NEAR), far:] -= NEARNESS
        for block in model.encoder.block[1:]:
            attention = block.layer[0].SelfAttention
            first = far * HEAD_WIDTH
            attention.q.weight[first:] = LIKENESS * attention.k.weight[first:]
    return model


def save_state(path: Path, model: Any, optimizer: Any, step: int, options: dict[str, Any]) -> None:
    """Write everything that the rest of the run depends on, whole or not at all."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"value.{name}"] = parameter.detach().contiguous()
        for part in ("exp_avg", "exp_avg_sq"):
            tensors[f"{part}.{name}"] = optimizer.state[parameter][part].contiguous()
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata={"step": str(step), "options": json.dumps(options)})
    beside.replace(path)


@torch.no_grad()
def load_state(path: Path, model: Any, optimizer: Any, options: dict[str, Any]) -> int:
    """Read what ``save_state`` wrote; returns the number of steps done, 0 where there is none.

    The numbers of steps may change as long as the learning rate has not begun to fall: until then
    they change nothing.
    """
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step, saved = int(file.metadata()["step"]), json.loads(file.metadata()["options"])
        falling = step > min(each["steps"] - each["decay"] for each in (saved, options))
        differ = {key for key in options if saved.get(key) != options[key]}
        if differ and (falling or not differ <= {"steps", "decay"}):
            raise SystemExit(
                f"{path} is of a run with other {sorted(differ)}: remove it, or repeat"
            )
        for name, parameter in model.named_parameters():
            parameter.copy_(file.get_tensor(f"value.{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": file.get_tensor(f"exp_avg.{name}"),
                "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}"),
            }
    return step


def train(model: Any, options: argparse.Namespace, record: dict[str, Any]) -> None:
    """Optimize the model in place, printing the loss and saving the state now and then."""
    decayed: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    positions: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or "shared" in name
        (positions if POSITIONS in name else others if plain else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": options.weight_decay, "factor": 1.0},
            {"params": others, "factor": 1.0},
            {"params": positions, "factor": FASTER},
        ],
        lr=options.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True,
    )  # fmt: skip
    path = options.out / STATE
    done = load_state(path, model, optimizer, record)
    source = batches(options.seed, options.batch, done)
    started, smooth = time.perf_counter(), 0.0
    model.train()
    for step in range(done, options.steps):
        factor = min(1.0, (step + 1) / options.warmup, (options.steps - step) / options.decay)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * factor * group["factor"]
        texts, labels = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            loss = model(input_ids=texts, attention_mask=(texts != 0).long(), labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if step == done else smooth + 0.02 * (loss.item() - smooth)
        if (step + 1) % 100 == 0 or step + 1 == options.steps:
            passed = time.perf_counter() - started
            left = passed / (step + 1 - done) * (options.steps - step - 1)
            print(
                f"step {step + 1}/{options.steps}  loss {smooth:.3f}  "
                f"{passed:.0f} s, {left:.0f} s to go",
                flush=True,
            )
        if (step + 1) % options.save_every == 0:
            save_state(path, model, optimizer, step + 1, record)


def write_folder(model: Any, folder: Path) -> None:
    """Write configuration, float32 weights and tokenizer as transformers does."""
    model.eval().save_pretrained(folder)
    ByT5Tokenizer(extra_ids=0).save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / STATE).unlink(missing_ok=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tiny_t5"), help="folder to write")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--decay", type=int, default=2500, help="last steps, of a falling rate")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--encoder-layers", type=int, default=4)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=100, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Train, write, measure."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    without = ("out", "save_every")
    record = {key: value for key, value in vars(options).items() if key not in without}
    model = make_model(options)
    started = time.perf_counter()
    train(model, options, record)
    seconds = round(time.perf_counter() - started)
    write_folder(model, options.out)
    reloaded = T5ForConditionalGeneration.from_pretrained(options.out).eval()
    table = measure(reloaded)
    print_table(table)
    record |= {
        "parameters": sum(each.numel() for each in model.parameters()),
        "seconds_of_last_call": seconds,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "sha256": hashlib.sha256((options.out / "model.safetensors").read_bytes()).hexdigest(),
        "zero_shot": table,
    }
    (options.out / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
