"""Synthetic models of real sizes on disk, their vectors, and the same in the forms others read."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from costs import Cost, run
from safetensors.torch import load_file, save_file
from torch import Tensor

from talos_engine.artifacts import (
    BaseInfo,
    Checkpoint,
    Header,
    TaskVector,
    VectorEntry,
    hash_tensors,
    make_entry,
    open_checkpoint,
    read_vector,
    restore,
    write_checkpoint,
    write_vector,
)

# Width, layers, patch of the image encoders; the text tower is left out.
SIZES = {
    "tiny": (192, 4, 32),
    "ViT-B-32": (768, 12, 32),
    "ViT-B-16": (768, 12, 16),
    "ViT-L-14": (1024, 24, 14),
}


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Tensors of an open_clip image encoder of this size."""
    width, layers, patch = SIZES[size]
    found: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": ((224 // patch) ** 2 + 1, width),
        "visual.proj": (width, width // 2),
        "logit_scale": (),
    }
    for layer in range(layers):
        stem = f"visual.transformer.resblocks.{layer}."
        for name, shape in {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_proj.weight": (width, 4 * width),
            "ln_1.weight": (width,),
            "ln_2.weight": (width,),
        }.items():
            found[stem + name] = shape
    return found


@dataclass(frozen=True)
class Files:
    """Synthetic models of one size on disk."""

    folder: Path
    results: Path
    size: str
    base: Path
    info: BaseInfo
    theta0: Mapping[str, Tensor]

    def add(self, vectors: Sequence[Path], out: Path, coef: float, *words: object) -> Cost:
        """``talos add`` of these vectors to the base."""
        command = ("add", *vectors, "--model", self.base, "--coef", coef, "-o", out, *words)
        return run(sys.executable, "-m", "talos_cli", *command, "--quiet", "--force")

    def vector(self, number: int, sparsity: float, *, storage: str = "always") -> Path:
        """A vector file with normal changes, made unless it is there."""
        path = self.folder / f"{number}.{sparsity}.{storage}"
        if path.exists():
            return path
        generator = torch.Generator().manual_seed(number)
        entries: dict[str, VectorEntry] = {}
        for name, before in self.theta0.items():
            live = torch.rand(before.shape, generator=generator) >= sparsity
            step = 1e-3 * torch.randn(before.shape, generator=generator)
            entry = make_entry(before, before + live * step, sparse=storage)  # type: ignore[arg-type]
            if entry is not None:
                entries[name] = entry
        header = Header("vector", self.info, "synthetic", f"task{number:02}", {}, 0, "")
        write_vector(path, TaskVector(header, entries))
        return path

    def tuned(self, number: int, sparsity: float) -> Path:
        """The fine-tuned model of that vector, and its plain changes beside it, for others."""
        path = self.folder / f"{number}.{sparsity}.tuned.safetensors"
        if not path.exists():
            entries = read_vector(self.vector(number, sparsity)).entries
            models = {
                name: restore(before, entries[name]) if name in entries else before.clone()
                for name, before in self.theta0.items()
            }
            save_file(models, path)
        return path

    def plain(self, number: int) -> Path:
        """Dense changes as a plain state dict."""
        path = self.folder / f"{number}.plain"
        if not path.exists():
            with_header = load_file(self.vector(number, 0.0, storage="never"))
            save_file({n: with_header[n] for n in self.theta0}, path)
        return path


def make_files(folder: Path, results: Path, size: str) -> Files:
    generator = torch.Generator().manual_seed(0)
    theta0 = {
        name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes(size).items()
    }
    info = BaseInfo("synthetic", size, {}, hash_tensors(theta0))
    base = folder / "base.safetensors"
    write_checkpoint(
        base, Checkpoint(Header("checkpoint", info, "synthetic", "", {}, 0, ""), theta0)
    )
    return Files(folder, results, size, base, info, theta0)


def plain_base(files: Files) -> Path:
    """The base as mergekit reads it."""
    path = files.folder / "plain.base.safetensors"
    if not path.exists():
        with open_checkpoint(files.base) as tensors:
            save_file({name: tensors[name] for name in tensors}, path)
    return path
