"""The mergekit dialect against mergekit itself, on T5-shaped checkpoints; prints the largest gaps.

Models are written as safetensors files under the names and shapes of a T5 checkpoint, merged by
``mergekit-pytorch`` and by ``talos add --dialect mergekit``, and the two files are compared.
mergekit is not a dependency: name its program, from a virtual environment of its own.

    python benchmarks/mergekit_numbers.py --mergekit ENVIRONMENT/bin/mergekit-pytorch

mergekit draws DARE's mask from torch's global stream, so there its program is started with our
masks in place of ``torch.bernoulli``; everything else is the same program.

Entries whose sign or rank is decided by rounding differ: mergekit adds votes in float32 and sorts
equal magnitudes in no particular order. They are counted apart, see ``decided_by_rounding``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from talos_engine.artifacts import (
    BaseInfo,
    Checkpoint,
    Header,
    TaskVector,
    hash_tensors,
    make_entry,
    write_checkpoint,
    write_vector,
)
from talos_engine.merging.methods.dare import draw_kept

WIDTH, INNER, HEADS, BUCKETS = 512, 2048, 8, 32  # t5-small's
WEIGHTS = (1.0, 0.5, -0.3, 0.8)
DROP = 0.9

WITH_MASKS = """
import sys
from pathlib import Path
from safetensors.torch import load_file
import mergekit.sparsify
from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge
from mergekit.scripts.merge_raw_pytorch import main

masks = load_file(sys.argv.pop(1))
merge_group = GeneralizedTaskArithmeticMerge.merge_group
used = 0

def with_masks(self, group, /, **parameters):
    tasks = [Path(entry.id.model.path).stem for entry in group.non_base]
    queue = iter([masks[f"{task}/{group.metadata.name}"] for task in tasks])
    def bernoulli(probabilities):
        global used
        used += 1
        return next(queue).to(probabilities.dtype)
    mergekit.sparsify.torch.bernoulli = bernoulli
    return merge_group(self, group, **parameters)

GeneralizedTaskArithmeticMerge.merge_group = with_masks
main(standalone_mode=False)
assert used == len(masks), f"{used} of {len(masks)} masks used"
"""


@dataclass(frozen=True)
class Case:
    """A method under both programs' names and options.

    Args:
        name: talos' name of it.
        theirs: mergekit's.
        normalize: Whether mergekit divides by the weights, as our dialect says for this method.
        parameters: Of every model, for mergekit.
        words: For talos.
        ranks: Whether magnitudes are ranked.
        masks: Whether masks are injected.
    """

    name: str
    theirs: str
    normalize: bool = False
    parameters: Mapping[str, float] = field(default_factory=dict)
    words: Sequence[object] = ()
    ranks: bool = False
    masks: bool = False


KIT = ("--dialect", "mergekit")
CASES = (
    Case("sum", "task_arithmetic"),
    Case("ties", "ties", True, {"density": 0.2}, (*KIT, "--ties-density", 0.2), ranks=True),
    Case(
        "breadcrumbs",
        "breadcrumbs",
        parameters={"density": 0.3, "gamma": 0.01},
        words=(*KIT, "--breadcrumbs-density", 0.3, "--breadcrumbs-outliers", 0.01),
        ranks=True,
    ),
    Case(
        "dare",
        "dare_linear",
        parameters={"density": 1 - DROP},
        words=(*KIT, "--dare-drop", DROP, "--seed", 0),
        masks=True,
    ),
)


def shapes(blocks: int, words: int) -> dict[str, tuple[int, ...]]:
    """Tensors of t5-small's file with so many blocks and words: tied weights are in it once."""
    found: dict[str, tuple[int, ...]] = {"shared.weight": (words, WIDTH)}
    for stack, attentions in (
        ("encoder", ("SelfAttention",)),
        ("decoder", ("SelfAttention", "EncDecAttention")),
    ):
        for block in range(blocks):
            stem = f"{stack}.block.{block}.layer."
            for layer, attention in enumerate(attentions):
                for name in "qkvo":
                    found[f"{stem}{layer}.{attention}.{name}.weight"] = (WIDTH, WIDTH)
                found[f"{stem}{layer}.layer_norm.weight"] = (WIDTH,)
            if not block:
                bias = f"{stem}0.SelfAttention.relative_attention_bias.weight"
                found[bias] = (BUCKETS, HEADS)
            last = f"{stem}{len(attentions)}."
            found[f"{last}DenseReluDense.wi.weight"] = (INNER, WIDTH)
            found[f"{last}DenseReluDense.wo.weight"] = (WIDTH, INNER)
            found[f"{last}layer_norm.weight"] = (WIDTH,)
        found[f"{stack}.final_layer_norm.weight"] = (WIDTH,)
    return found


@dataclass(frozen=True)
class Files:
    """A base, models fine-tuned from it and their vectors; masks for DARE."""

    folder: Path
    theta0: Mapping[str, Tensor]
    names: tuple[str, ...] = tuple(f"task{number}" for number in range(len(WEIGHTS)))

    def model(self, name: str) -> Path:
        """A plain file of one model, ``base`` or a task's."""
        return self.folder / f"{name}.safetensors"

    def vector(self, name: str) -> Path:
        """Our vector of a task."""
        return self.folder / f"{name}.vector.safetensors"

    @property
    def base(self) -> Path:
        """θ0 as our checkpoint."""
        return self.folder / "base.ckpt.safetensors"

    @property
    def masks(self) -> Path:
        """Which entries DARE keeps, by task and tensor."""
        return self.folder / "masks.safetensors"


def make_files(folder: Path, blocks: int, words: int) -> Files:
    """Random models and everything that both programs need of them."""
    generator = torch.Generator().manual_seed(0)
    theta0 = {
        name: 0.05 * torch.randn(shape, generator=generator)
        for name, shape in shapes(blocks, words).items()
    }
    files = Files(folder, theta0)
    save_file(theta0, files.model("base"))
    info = BaseInfo("t5", "synthetic", {}, hash_tensors(theta0))
    header = Header("checkpoint", info, "synthetic", "", {}, 0, "")
    write_checkpoint(files.base, Checkpoint(header, theta0))
    masks = {}
    for name in files.names:
        tuned = {
            key: before + 2e-3 * torch.randn(before.shape, generator=generator)
            for key, before in theta0.items()
        }
        save_file(tuned, files.model(name))
        found = {key: make_entry(theta0[key], tuned[key], sparse="never") for key in theta0}
        entries = {key: entry for key, entry in found.items() if entry is not None}
        header = Header("vector", info, "synthetic", name, {}, 0, "")
        write_vector(files.vector(name), TaskVector(header, entries))
        for key, before in theta0.items():
            masks[f"{name}/{key}"] = draw_kept(tuple(before.shape), DROP, "dare", 0, name, 0, key)
    save_file(masks, files.masks)
    return files


def run(*words: object) -> None:
    """Run a program; its output is shown if it fails."""
    done = subprocess.run(
        [*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout)


def merge_theirs(files: Files, case: Case, program: Path, out: Path) -> None:
    """``mergekit-pytorch``, with its masks replaced where the case says."""
    models = [
        {"model": str(files.model(name)), "parameters": {"weight": weight, **case.parameters}}
        for name, weight in zip(files.names, WEIGHTS, strict=True)
    ]
    config = files.folder / f"{case.name}.yml"  # JSON is YAML
    config.write_text(
        json.dumps(
            {
                "merge_method": case.theirs,
                "base_model": str(files.model("base")),
                "dtype": "float32",
                "parameters": {"normalize": case.normalize},
                "models": models,
            }
        )
    )
    start: list[object] = [program]
    if case.masks:
        start = [program.parent / "python", "-c", WITH_MASKS, files.masks]
    run(*start, config, out)


def merge_ours(files: Files, case: Case, out: Path) -> None:
    """``talos add`` of the vectors."""
    vectors = [files.vector(name) for name in files.names]
    coefs = [f"--coef={weight}" for weight in WEIGHTS]
    words = ("--model", files.base, "--method", case.name, *case.words, "-o", out, "--quiet")
    run(sys.executable, "-m", "talos_cli", "add", *vectors, *coefs, *words)


def decided_by_rounding(deltas: list[Tensor], options: Mapping[str, float]) -> Tensor:
    """Where votes cancel up to float32's rounding, or a magnitude equals a line that ties cross."""
    weights = torch.tensor(WEIGHTS).view(-1, *(1,) * deltas[0].ndim).double()
    weighted = torch.stack(deltas).double() * weights
    found = torch.zeros(deltas[0].shape, dtype=torch.bool)
    count = deltas[0].numel()
    if "gamma" not in options:  # votes are cast among what the trimming leaves: any subset
        for chosen in range(1, 2 ** len(WEIGHTS)):
            some = [at for at in range(len(WEIGHTS)) if chosen >> at & 1]
            total, mass = weighted[some].sum(dim=0), weighted[some].abs().sum(dim=0)
            found |= (total.abs() <= 1e-6 * mass) & (mass > 0)
    top = int(options.get("gamma", 0.0) * count)
    for line in (top, top + int(options["density"] * count)):
        for delta in deltas:
            magnitude = delta.abs()
            if 0 < line < count:
                found |= magnitude == magnitude.reshape(-1).kthvalue(count - line + 1).values
    return found


def compare(files: Files, case: Case, ours: Path, theirs: Path) -> tuple[float, int, float]:
    """Largest difference of the two files, entries left out, and the largest difference there."""
    (result,) = theirs.glob("*.safetensors")
    gap, left_out, gap_there = 0.0, 0, 0.0
    tuned = [safe_open(files.model(name), "pt") for name in files.names]
    with safe_open(ours, "pt") as mine, safe_open(result, "pt") as kit:
        if not set(files.theta0) == set(mine.keys()) == set(kit.keys()):
            sys.exit(f"{case.name}: the files hold other tensors")
        for key, before in files.theta0.items():
            apart = (mine.get_tensor(key).double() - kit.get_tensor(key).double()).abs()
            if case.ranks:
                deltas = [model.get_tensor(key) - before for model in tuned]
                doubtful = decided_by_rounding(deltas, case.parameters)
                left_out += int(doubtful.sum())
                gap_there = max(gap_there, float(torch.where(doubtful, apart, 0.0).max()))
                apart = torch.where(doubtful, 0.0, apart)
            gap = max(gap, float(apart.max()))
    return gap, left_out, gap_there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mergekit", type=Path, required=True, help="program mergekit-pytorch")
    parser.add_argument("--blocks", type=int, default=2, help="of each stack; t5-small has 6")
    parser.add_argument("--words", type=int, default=4096, help="t5-small has 32128")
    parser.add_argument("--folder", type=Path, help="where temporary files go, such as /dev/shm")
    parser.add_argument("--only", choices=[case.name for case in CASES])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        files = make_files(Path(folder), chosen.blocks, chosen.words)
        entries = sum(value.numel() for value in files.theta0.values())
        print(f"t5-small's widths, {chosen.blocks} blocks, {chosen.words} words: "
              f"{entries / 1e6:.1f} M entries, torch {torch.__version__}", flush=True)  # fmt: skip
        for case in CASES:
            if chosen.only not in (None, case.name):
                continue
            ours, theirs = files.folder / f"{case.name}.ours", files.folder / f"{case.name}.theirs"
            merge_theirs(files, case, chosen.mergekit, theirs)
            merge_ours(files, case, ours)
            gap, left_out, there = compare(files, case, ours, theirs)
            print(f"{case.name:<12} max abs difference to mergekit's {case.theirs} {gap:.3g}   "
                  f"({left_out} entries decided by rounding left out, {there:.3g} there)",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
