"""Cost of a training step by method at ViT-B-32's size, and of the optimizer alone.

Random weights and images: the cost does not depend on them. Everything runs in this process in
turn and medians are compared; peak memory comes from a process of its own.

    python benchmarks/training.py [--batch 16] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import BaseInfo, Header, Mask
from talos_engine.device import Runtime
from talos_engine.models.open_clip_backbone import ImageClassifier, OpenClipBackbone
from talos_engine.models.spec import BaseWeights
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob, train
from talos_engine.training.sparse_adamw import AdamWConfig, SparseAdamW
from talos_engine.training.spec import FINETUNE_METHODS, Trainable

METHODS = ("nonlinear", "talos", "lota", "linearized", "l-lora")
PLAIN = "torch"  # the baseline: non-linear fine-tuning as everybody writes it
SETTINGS = AdamWConfig(weight_decay=0.1)


class Problem:
    """ViT-B-32 with random weights, a batch of images, and masks of its Q and K rows or random."""

    def __init__(self, batch: int) -> None:
        import open_clip

        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None)
        info = BaseInfo("ViT-B-32", "random", {}, "0" * 64)
        tensors = {name: value.clone() for name, value in model.state_dict().items()}
        self.backbone = OpenClipBackbone(BaseWeights(info, info, tensors), model, lambda: None)
        head = torch.nn.functional.normalize(torch.randn(47, 512), dim=-1)
        self.classifier = ImageClassifier(model.visual, head, torch.tensor(100.0)).eval()
        self.inputs = torch.randn(batch, 3, 224, 224)
        self.labels = torch.randint(47, (batch,))
        self.structure = self.backbone.structure

    def structured(self) -> dict[str, Tensor]:
        """A tenth of the maskable entries, scattered over Q and K of all blocks."""
        total = sum(torch.Size(self.structure.shapes[n]).numel() for n in self.structure.maskable)
        groups = [g for g in self.structure.groups if g.kind in "qk" and not g.is_bias]
        share = total / 10 / sum(768 * 768 for _ in groups)
        flags: dict[str, Tensor] = {}
        for group in groups:
            chosen = flags.setdefault(
                group.name, torch.zeros(self.structure.shapes[group.name], dtype=torch.bool)
            )
            rows = torch.rand(group.stop - group.start, 768) < share
            chosen[group.start : group.stop] = rows
        return flags

    def scattered(self) -> dict[str, Tensor]:
        """A tenth of the entries of every maskable tensor, where LoTA's masks are."""
        shapes = {name: self.structure.shapes[name] for name in self.structure.maskable}
        return {name: torch.rand(shape) < 0.1 for name, shape in shapes.items()}

    def mask(self, rule: str, live: dict[str, Tensor]) -> Mask:
        info = self.backbone.weights.info
        header = Header("mask", info, rule, "dtd", {}, 0, "")
        shapes = {name: self.structure.shapes[name] for name in self.structure.maskable}
        return Mask(header, live, shapes)

    def run(self, method: str, steps: int, runtime: Runtime | None = None) -> list[StepRecord]:
        """Records of some steps of a method; the weights move by next to nothing."""
        entry = FINETUNE_METHODS.get(method)
        config = entry.configure({})
        live = self.scattered() if method == "lota" else self.structured()
        mask = self.mask(entry.mask_rule, live) if entry.mask_rule else None
        flags = entry.run(config, self.structure, mask)
        trainee = entry.adapt(config, Trainable(self.backbone, self.classifier, flags, 0))
        job = TrainJob(
            classifier=trainee.classifier,
            parameters=trainee.parameters,
            live=trainee.live,
            inputs=self.inputs,
            labels=self.labels,
            config=TrainConfig(steps, len(self.labels), 1e-9, 0.1, 0, "constant", 1.0, 0),
            runtime=runtime or Runtime(),
        )
        return train(job)


def run_plain(problem: Problem, steps: int) -> list[StepRecord]:
    """Steps of the same training with torch alone: fused AdamW on the parameters themselves."""
    problem.classifier.requires_grad_(False)
    parameters = list(problem.backbone.encoder_state().values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=1e-9, weight_decay=0.1, fused=True)
    records = []
    for step in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        logits = problem.classifier(problem.inputs)
        loss = torch.nn.functional.cross_entropy(logits, problem.labels)
        loss.backward()
        value = loss.item()
        differentiated = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        ended = time.perf_counter()
        records.append(
            StepRecord(
                step=step + 1,
                loss=value,
                lr=1e-9,
                forward_backward_s=differentiated - began,
                optimizer_s=ended - differentiated,
                total_s=ended - began,
                examples=len(problem.labels),
            )
        )
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
    return records


def compare_steps(batch: int, repeats: int) -> None:
    problem = Problem(batch)
    print(f"training step, ViT-B-32 size, batch {batch}, {torch.get_num_threads()} threads")
    records: dict[str, list[StepRecord]] = {method: [] for method in (PLAIN, *METHODS)}
    bounds: list[float] = []
    for _ in range(repeats):
        records[PLAIN].append(run_plain(problem, 2)[1])
        for method in METHODS:
            records[method].append(problem.run(method, 2)[1])  # the first sets the optimizer up
        bounds.append(measure_bound(problem))
    medians = {
        method: [
            statistics.median(getattr(record, part) for record in found)
            for part in ("forward_backward_s", "optimizer_s", "total_s")
        ]
        for method, found in records.items()
    }
    dense = medians[PLAIN]
    reach = {"talos": "<= 0.75 by hand", "linearized": "<= 2.2"}
    for method, (differentiating, optimizing, total) in medians.items():
        print(
            f"  {method:12} forward-backward {differentiating:6.2f} s   optimizer "
            f"{optimizing:6.3f} s   step {total:6.2f} s   {total / dense[2]:5.2f}x {PLAIN} "
            f"{reach.get(method, '')}",
            flush=True,
        )
    bound = statistics.median(bounds)
    print(
        f"  bound of talos (forward, activation gradients, live weight gradients) {bound:.2f} s   "
        f"talos forward-backward / bound {medians['talos'][0] / bound:.2f} (<= 1.05)"
    )
    half = Runtime(dtype=torch.bfloat16)
    pairs = [
        (problem.run("talos", 2)[1].total_s, problem.run("talos", 2, half)[1].total_s)
        for _ in range(repeats)
    ]
    full, low = (statistics.median(column) for column in zip(*pairs, strict=True))
    has_amx = "amx_bf16" in Path("/proc/cpuinfo").read_text()
    print(
        f"  talos in bfloat16 {low:.2f} s, float32 {full:.2f} s: {low / full:.2f} "
        f"({'<= 0.6' if has_amx else 'no AMX here'})"
    )
    del problem
    peaks = {method: measure_peak(method, batch) for method in (PLAIN, *METHODS)}
    ratio = peaks["talos"] / peaks[PLAIN]
    print(f"  peak MiB: {peaks}; talos / {PLAIN} {ratio:.2f} (<= 0.75)")


def measure_bound(problem: Problem) -> float:
    """Seconds of what a step with a mask on Q and K cannot do without.

    Forward, and gradients of all activations down to the first block, with every parameter frozen;
    then the weight gradients of Q and K, as plain products of the right shapes.
    """
    problem.classifier.requires_grad_(False)
    block = problem.classifier.visual.transformer.resblocks[0]
    handle = block.ln_1.register_forward_hook(lambda *found: found[2].requires_grad_())
    began = time.perf_counter()
    logits = problem.classifier(problem.inputs)
    torch.nn.functional.cross_entropy(logits, problem.labels).backward()
    spent = time.perf_counter() - began
    handle.remove()
    rows = 50 * len(problem.labels)
    outputs, inputs = torch.randn(rows, 2 * 768), torch.randn(rows, 768)
    began = time.perf_counter()
    for _ in range(12):
        outputs.T @ inputs
    return spent + time.perf_counter() - began


def measure_peak(method: str, batch: int) -> int:
    words = [sys.executable, __file__, "--peak", method, "--batch", str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout)


def compare_optimizers(repeats: int) -> None:
    """The optimizer alone, on all maskable tensors of ViT-B-32."""
    problem = Problem(1)
    state = problem.backbone.encoder_state()
    names = problem.structure.maskable
    values = {name: state[name].detach().clone() for name in names}
    for value in values.values():
        value.grad = torch.randn_like(value)
    total = sum(value.numel() for value in values.values())
    structured = problem.structured()
    scattered = {name: torch.rand(value.shape) < 0.1 for name, value in values.items()}
    fused = torch.optim.AdamW(values.values(), lr=1e-9, weight_decay=0.1, fused=True)
    work: dict[str, Callable[[], object]] = {
        "ours, Q and K": make_sparse(values, structured),
        "ours, anywhere": make_sparse(values, scattered),
        "A: masked dense moments, tensor by tensor": make_masked_dense(values, scattered),
        "torch, fused, all parameters": fused.step,
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, piece in work.items():
            began = time.perf_counter()
            piece()
            if repeat:
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in times.items()}
    dense, masked = list(medians.values())[3], list(medians.values())[2]
    print(f"optimizer step, {total:,} parameters at 90% sparsity")
    for name, took in medians.items():
        line = f"  {name:44} {1e3 * took:7.1f} ms"
        if name.startswith("ours"):
            reach = "<= 1.0" if "Q" in name else "<= 1.4"
            line += (
                f"   A / it {masked / took:5.1f} (>= 15)   it / fused {took / dense:.2f} ({reach})"
            )
        print(line, flush=True)


def make_sparse(values: dict[str, Tensor], live: dict[str, Tensor]) -> Callable[[], object]:
    chosen = {name: values[name] for name in live}
    ours = SparseAdamW(chosen, live, SETTINGS)
    return lambda: ours.step(ours.gather_gradients(), 1e-9)


def make_masked_dense(values: dict[str, Tensor], live: dict[str, Tensor]) -> Callable[[], object]:
    """The authors' way: dense moments, every operation on the whole tensor, masked at the end."""
    masks = {name: flags.float() for name, flags in live.items()}
    first = {name: torch.zeros_like(values[name]) for name in live}
    second = {name: torch.zeros_like(values[name]) for name in live}
    count = 0

    def step(rate: float = 1e-9) -> None:
        nonlocal count
        count += 1
        for name, mask in masks.items():
            gradient = values[name].grad * mask  # type: ignore[operator]
            values[name].mul_(1 - rate * 0.1 * mask)
            first[name].mul_(0.9).add_(gradient, alpha=0.1)
            second[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            root = second[name].sqrt().div_((1 - 0.999**count) ** 0.5).add_(1e-8)
            values[name].sub_(mask * (first[name] / root) * (rate / (1 - 0.9**count)))

    return torch.no_grad()(step)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Cost of training steps and optimizers.")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", choices=(PLAIN, *METHODS), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.peak:
        problem = Problem(chosen.batch)
        _ = run_plain(problem, 2) if chosen.peak == PLAIN else problem.run(chosen.peak, 2)
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
        return
    compare_optimizers(chosen.repeats)
    compare_steps(chosen.batch, chosen.repeats)


if __name__ == "__main__":
    main()
