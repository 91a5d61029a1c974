"""Cost of calibration scores beside the authors' way, plain loops, ``vmap(grad)`` and a dense step.

Random weights and inputs: the cost does not depend on them. One draw per example. Every variant
runs in this process in turn, medians are compared; peak memory comes from a process of its own.

    python benchmarks/calibration.py [--model ViT-B-32|t5-small] [--batch 64] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from talos_engine.models.open_clip_backbone import ImageClassifier
from talos_engine.models.rank_classifier import RankClassifier, TokenLogits, pack_examples
from talos_engine.models.structure import image_encoder_structure, t5_structure
from talos_engine.sensitivity.coverage import Coverage, find_coverage
from talos_engine.sensitivity.fisher import ExampleBatch, FisherConfig, estimate_fisher_diag

AUTHORS_SAMPLE = 4  # backward passes of A that are timed; each costs the same
VMAP_CHUNK = 16
VARIANTS = ("ours", "A", "B", "C", "D")
TITLES = {
    "ours": "ours, one backward pass per batch",
    "A": "A: a backward pass per example through one batch graph",
    "B": "B: a batch of one per example",
    "C": f"C: vmap(grad), {VMAP_CHUNK} at a time",
    "D": "D: one dense training step (AdamW, fused)",
}


@dataclass
class Problem:
    """A model with random weights and a batch.

    Args:
        classifier: Maps inputs to logits.
        names: Maskable parameters.
        inputs: The batch.
        labels: A drawn label per example, so that all variants differentiate the same thing.
    """

    classifier: nn.Module
    names: tuple[str, ...]
    inputs: Tensor
    labels: Tensor

    @cached_property
    def coverage(self) -> Coverage:
        """Found once per calibration of many batches, so not part of a batch's cost."""
        return find_coverage(self.classifier, self.values, self.names, self.inputs)

    @property
    def values(self) -> dict[str, Tensor]:
        own = dict(self.classifier.named_parameters())
        return {name: own[name].detach() for name in self.names}


def make_vit(batch: int) -> Problem:
    import open_clip

    visual = open_clip.create_model("ViT-B-32", pretrained=None).visual
    head = torch.nn.functional.normalize(torch.randn(47, 512), dim=-1)
    classifier = ImageClassifier(visual, head, torch.tensor(100.0)).eval().requires_grad_(False)
    names = image_encoder_structure(visual).maskable
    return Problem(classifier, names, torch.randn(batch, 3, 224, 224), torch.randint(47, (batch,)))


def make_t5(batch: int) -> Problem:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(decoder_start_token_id=0)).eval()
    answers = [[[2163, 1], [465, 7, 1], [59, 1]]] * batch
    network = TokenLogits(model, 0, 0, 512**-0.5)
    classifier = RankClassifier(network, 0, 32128).eval().requires_grad_(False)
    names = t5_structure(model).maskable
    tokens = pack_examples(torch.randint(2, 32000, (batch, 128)).tolist(), answers, 0)
    return Problem(classifier, names, tokens, torch.randint(3, (batch,)))


MODELS: dict[str, Callable[[int], Problem]] = {"ViT-B-32": make_vit, "t5-small": make_t5}


def run_ours(problem: Problem) -> dict[str, Tensor]:
    batch = ExampleBatch(torch.arange(len(problem.labels)), problem.inputs, problem.labels)
    config = FisherConfig("empirical", micro_batch=len(problem.labels))
    return estimate_fisher_diag(
        problem.classifier, problem.values, [batch], config, coverage=problem.coverage
    )


def trained(problem: Problem) -> list[nn.Parameter]:
    own = dict(problem.classifier.named_parameters())
    chosen = [own[name] for name in problem.names]
    for parameter in chosen:
        parameter.requires_grad_(True)
        parameter.grad = None
    return chosen


def add_squares(sums: list[Tensor], gradients: tuple[Tensor, ...] | list[Tensor]) -> None:
    for total, gradient in zip(sums, gradients, strict=True):
        total.addcmul_(gradient, gradient)


def run_authors(problem: Problem, count: int = AUTHORS_SAMPLE) -> float:
    """Seconds for the whole batch: the forward pass, and ``count`` backward passes scaled up."""
    parameters = trained(problem)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    began = time.perf_counter()
    log_p = torch.log_softmax(problem.classifier(problem.inputs), -1)
    forward = time.perf_counter() - began
    began = time.perf_counter()
    for row in range(count):
        gradients = torch.autograd.grad(
            log_p[row, problem.labels[row]], parameters, retain_graph=True
        )
        add_squares(sums, gradients)
    backward = time.perf_counter() - began
    problem.classifier.requires_grad_(False)
    return forward + backward / count * len(problem.labels)


def run_loop(problem: Problem) -> dict[str, Tensor]:
    parameters = trained(problem)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for row in range(len(problem.labels)):
        log_p = torch.log_softmax(problem.classifier(problem.inputs[row : row + 1]), -1)[0]
        add_squares(sums, torch.autograd.grad(log_p[problem.labels[row]], parameters))
    problem.classifier.requires_grad_(False)
    count = len(problem.labels)
    return {name: total / count for name, total in zip(problem.names, sums, strict=True)}


def run_vmap(problem: Problem) -> dict[str, Tensor]:
    def log_likelihood(values: dict[str, Tensor], example: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(problem.classifier, values, (example[None],))[0]
        return torch.log_softmax(logits, -1).gather(0, label[None])[0]

    per_example = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(value) for name, value in problem.values.items()}
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for start in range(0, len(problem.labels), VMAP_CHUNK):
            rows = slice(start, start + VMAP_CHUNK)
            gradients = per_example(problem.values, problem.inputs[rows], problem.labels[rows])
            for name, gradient in gradients.items():
                sums[name] += gradient.square_().sum(0)
    torch.backends.mha.set_fastpath_enabled(was_fast)
    return {name: total / len(problem.labels) for name, total in sums.items()}


def make_dense_step(problem: Problem) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(trained(problem), lr=0.0, weight_decay=0.0, fused=True)

    def step() -> None:
        trained(problem)
        logits = problem.classifier(problem.inputs)
        torch.nn.functional.cross_entropy(logits, problem.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        problem.classifier.requires_grad_(False)

    return step


def worst_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    return max(
        float((found[name] - value).abs().max() / value.max().clamp_min(1e-30))
        for name, value in expected.items()
    )


def measure_times(problem: Problem, repeats: int) -> None:
    step = make_dense_step(problem)
    timed: dict[str, list[float]] = {name: [] for name in VARIANTS}
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: run_ours(problem),
        "B": lambda: run_loop(problem),
        "C": lambda: run_vmap(problem),
        "D": step,
    }
    ours = run_ours(problem)
    errors = {"B": worst_error(ours, run_loop(problem))}
    refused = ""
    try:
        errors["C"] = worst_error(ours, run_vmap(problem))
    except RuntimeError as error:  # models whose forward pass looks at values
        refused = str(error).split(".")[0]
        del work["C"]
    step()
    for repeat in range(repeats):
        for name, piece in work.items():
            began = time.perf_counter()
            piece()
            timed[name].append(time.perf_counter() - began)
        if repeat < 2:  # minutes each, and much the same each time
            timed["A"].append(run_authors(problem))
    mine = statistics.median(timed["ours"])
    reach = {"A": ">= 20", "B": ">= 1.8", "C": ">= 2", "D": "ours <= 1.35x of it"}
    for name in VARIANTS:
        if not timed[name]:
            print(f"  {TITLES[name]:56} refuses this model: {refused}")
            continue
        took = statistics.median(timed[name])
        line = f"  {TITLES[name]:56} {took:8.2f} s"
        if name == "D":
            line += f"   ours / D {mine / took:5.2f} ({reach[name]})"
        elif name != "ours":
            line += f"   {took / mine:6.1f}x ours ({reach[name]})"
        if name in errors:
            line += f"   scores differ by {errors[name]:.1e} of each tensor's maximum"
        print(line, flush=True)


def peak_mib() -> int:
    """This process's highest resident set; ``getrusage`` would report the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def measure_peak(model: str, batch: int, variant: str) -> None:
    """Print MiB: peak resident set, and how far above the loaded model it is."""
    problem = MODELS[model](batch)
    before = peak_mib()
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: run_ours(problem),
        "A": lambda: run_authors(problem, 2),
        "B": lambda: run_loop(problem),
        "C": lambda: run_vmap(problem),
    }
    work.get(variant, make_dense_step(problem) if variant == "D" else print)()
    print(peak_mib(), peak_mib() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--model", choices=sorted(MODELS), action="append")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    for model in chosen.model or sorted(MODELS):
        if chosen.peak:
            measure_peak(model, chosen.batch, chosen.peak)
            continue
        threads = torch.get_num_threads()
        print(f"calibration scores, {model} size, batch {chosen.batch}, {threads} threads")
        measure_times(MODELS[model](chosen.batch), chosen.repeats)
        peaks = {}
        for variant in ("ours", "B", "D"):
            words = [__file__, "--model", model, "--batch", str(chosen.batch), "--peak", variant]
            done = subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, check=True
            )
            peaks[variant] = [int(word) for word in done.stdout.split()]
        ratio = peaks["ours"][0] / peaks["D"][0]
        told = ", ".join(f"{name} {peak} ({added})" for name, (peak, added) in peaks.items())
        print(f"  peak MiB (above the model): {told}")
        print(f"  ours / D {ratio:.2f} (<= 1.3)", flush=True)


if __name__ == "__main__":
    main()
