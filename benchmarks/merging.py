"""Merging at full size: time, peak memory and numbers against other ways, in the same run.

Every way runs in a process of its own, whose peak resident set the kernel tells; the libraries'
own share (a process that only imports torch) is printed first and is contained in all numbers.
Interleaved repetitions, medians. mergekit is not a dependency: name its ``mergekit-pytorch`` with
``--mergekit`` or in ``$MERGEKIT`` (from a virtual environment of its own) to have it as a baseline;
``mergekit_numbers.py`` compares what the two make.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from costs import Cost, median, run
from merging_files import SIZES, Files, make_files, plain_base

REFERENCE = """
import sys
import torch
from safetensors.torch import load_file, save_file
base, out, *files = sys.argv[1:]
theta0 = load_file(base)
names = sorted(theta0)
flat = torch.stack([torch.cat([load_file(f)[n].reshape(-1) for n in names]) for f in files])
k = flat.shape[1] - int(flat.shape[1] * 0.2)
flat *= flat.abs() >= flat.abs().kthvalue(k, dim=1, keepdim=True).values
sign = flat.sum(dim=0).sign()
sign[sign == 0] = sign.sum().sign()
flat *= flat.sign() == sign
merged = flat.double().sum(dim=0) / (flat != 0).sum(dim=0).clamp(min=1)
start = 0
for n in names:
    size = theta0[n].numel()
    theta0[n] = (theta0[n].double() + merged[start:start + size].view(theta0[n].shape)).float()
    start += size
save_file(theta0, out)
"""


def largest_difference(one: Path, two: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "talos_cli", "compare", str(one), str(two), "--json"],
        capture_output=True, check=True,
    )  # fmt: skip
    return float(json.loads(done.stdout)["max_abs_difference"])


def bench_count(files: Files, methods: Sequence[str], counts: Sequence[int]) -> None:
    """Memory must not grow with the number of vectors."""
    for method in methods:
        for count in counts:
            vectors = [files.vector(number, 0.9) for number in range(count)]
            out = files.results / ("models" if method == "tall" else "out")
            cost = files.add(vectors, out, 0.3, "--method", method)
            print(f"add --method {method:<11} {count:>2} sparse vectors   {cost}")


@dataclass(frozen=True)
class LiveCost:
    """What four vectors of several densities cost, at one size of model.

    Args:
        size: The size.
        shares: Live entries in percent.
        costs: Of ``add``, for each of them.
        sizes: Bytes of one vector's file, for each of them.
        start: What the imports of ``add`` cost alone.
    """

    size: str
    shares: Sequence[float]
    costs: Sequence[Cost]
    sizes: Sequence[float]
    start: Cost


SPARSITIES = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
IMPORTS = "import talos_cli.main, talos_engine.workflows.add"


def bench_live(files: Files, repeats: int) -> LiveCost:
    """Cost grows with the live entries: four vectors of several densities, all interleaved."""
    vectors = [[files.vector(number, each) for number in range(4)] for each in SPARSITIES]
    out = files.results / "out"
    work = [lambda those=those: files.add(those, out, 0.3) for those in vectors]
    start, *costs = median([lambda: run(sys.executable, "-c", IMPORTS), *work], repeats)
    shares = [100 * (1 - sparsity) for sparsity in SPARSITIES]
    sizes = [sum(each.stat().st_size for each in those) / len(those) for those in vectors]
    print(f"imports of add alone        {start}   median of {repeats}")
    for share, cost, size in zip(shares, costs, sizes, strict=True):
        part = size / files.base.stat().st_size
        print(f"add, 4 vectors, {share:5.1f}% live   {cost}   {part:.3f} of a dense file")
    processor = [cost.processor - start.processor for cost in costs]
    slope, fixed = statistics.linear_regression(shares, processor)
    fit = statistics.correlation(shares, processor)
    print(f"CPU seconds = {start.processor:.2f} of imports + {fixed:.2f} + {slope:.4f} per percent "
          f"live, correlation {fit:.3f}")  # fmt: skip
    return LiveCost(files.size, shares, costs, sizes, start)


def plot_live(path: Path, found: Sequence[LiveCost], repeats: int) -> None:
    """Processor time and file size over the share of live entries, a line for each size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, each in enumerate(found):
        color = f"C{number}"
        left.plot(each.shares, [it.processor for it in each.costs], "o-", c=color, label=each.size)
        right.plot(each.shares, [size / 1e6 for size in each.sizes], "o-", c=color, label=each.size)
    offset = statistics.median(each.start.processor for each in found)
    left.axhline(offset, ls="--", c="gray", label="imports alone")
    left.set(ylabel="processor time of add, s", title=f"four vectors, median of {repeats}")
    right.set(ylabel="size of one vector's file, MB", title="on disk")
    for axes in (left, right):
        axes.set(xlabel="live entries, %", xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def bench_ties(files: Files, count: int, repeats: int) -> None:
    """Global TIES against stacking everything in memory."""
    vectors = [files.vector(number, 0.0, storage="never") for number in range(count)]
    plain = [files.plain(number) for number in range(count)]
    ours, theirs = files.results / "ties.ours", files.results / "ties.reference"
    mine, reference = median(
        [
            lambda: files.add(vectors, ours, 1, "--method", "ties"),
            lambda: run(sys.executable, "-c", REFERENCE, files.base, theirs, *plain),
        ],
        repeats,
    )  # fmt: skip
    gap = largest_difference(ours, theirs)
    print(f"ties, {count} dense vectors    {mine}   in memory {reference}   memory ratio "
          f"{mine.peak / reference.peak:.2f} (reach 0.25)   max difference {gap:g}")  # fmt: skip


def mergekit_config(files: Files, tuned: Sequence[Path]) -> Path:
    """A configuration of task arithmetic for mergekit-pytorch; JSON is YAML."""
    path = files.folder / "mergekit.yml"
    base = str(plain_base(files))
    models = [{"model": str(each), "parameters": {"weight": 1.0}} for each in tuned]
    config = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "dtype": "float32",
        "models": [{"model": base}, *models],
    }
    path.write_text(json.dumps(config))
    return path


def bench_mergekit(files: Files, program: str | None, count: int, repeats: int) -> None:
    """Task arithmetic beside mergekit's on the dense equivalents; alone where there is none."""
    vectors = [files.vector(number, 0.9) for number in range(count)]
    ours, theirs = files.results / "kit.ours", files.results / "kit.theirs"
    label = f"add, {count} sparse vectors   "
    if not program:
        (mine,) = median([lambda: files.add(vectors, ours, 1)], repeats)
        print(f"{label} {mine}")
        print("mergekit: skipped, set MERGEKIT=…/bin/mergekit-pytorch")
        return
    config = mergekit_config(files, [files.tuned(number, 0.9) for number in range(count)])
    mine, kit = median(
        [
            lambda: files.add(vectors, ours, 1),
            lambda: run(program, config, theirs),
        ],
        repeats,
    )
    gap = largest_difference(ours, next(theirs.glob("*.safetensors")))
    print(f"{label} {mine}   mergekit {kit}   time ratio "
          f"{kit.seconds / mine.seconds:.1f}, CPU {kit.processor / mine.processor:.1f} (reach 4)   "
          f"memory ratio {mine.peak / kit.peak:.2f} (reach 0.3)   "
          f"max difference {gap:g}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, nargs="+", default=["ViT-B-32"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vectors", type=int, default=16, help="most vectors to merge")
    parser.add_argument(
        "--mergekit",
        default=os.environ.get("MERGEKIT"),
        help="the program mergekit-pytorch; $MERGEKIT if not given",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="folder for what is merged; /dev/shm leaves out waiting for the disk, which talos "
        "does before it is done and mergekit does not",
    )
    parser.add_argument("--plot", type=Path, help="picture of cost over live entries, all sizes")
    parser.add_argument("--only", choices=("count", "live", "ties", "mergekit"))
    chosen = parser.parse_args()
    if chosen.plot is not None and chosen.only not in (None, "live"):
        parser.error("--plot shows what --only live measures")
    live: list[LiveCost] = []
    for size in chosen.size:
        with (
            tempfile.TemporaryDirectory() as folder,
            tempfile.TemporaryDirectory(dir=chosen.results) as results,
        ):
            bench(make_files(Path(folder), Path(results), size), chosen, live)
    if chosen.plot is not None:
        plot_live(chosen.plot, live, chosen.repeats)


def bench(files: Files, chosen: argparse.Namespace, live: list[LiveCost]) -> None:
    """What was asked for, at one size."""
    entries = sum(value.numel() for value in files.theta0.values())
    print(f"{files.size}, {entries / 1e6:.1f} M entries, torch {torch.__version__}, "
          f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads")  # fmt: skip
    print(f"import torch           {run(sys.executable, '-c', 'import torch')}")
    if chosen.only in (None, "count"):
        counts = [count for count in (2, 4, 8, 16) if count <= chosen.vectors]
        bench_count(files, ("sum", "ties", "dare", "breadcrumbs", "consensus"), counts)
    if chosen.only in (None, "live"):
        live.append(bench_live(files, chosen.repeats))
    if chosen.only in (None, "ties"):
        bench_ties(files, min(8, chosen.vectors), chosen.repeats)
    if chosen.only in (None, "mergekit"):
        bench_mergekit(files, chosen.mergekit, 4, chosen.repeats)


if __name__ == "__main__":
    main()
