"""Side-by-side timings, each against a baseline in the same run; prints ratios.

Interleaved repetitions, medians. Nothing here is asserted; each line names what to reach.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from talos_engine.order_statistics import keep_lowest


def medians(work: Sequence[Callable[[], object]], repeats: int = 7) -> list[float]:
    """Median seconds of each piece of work, interleaved, after one warm-up of each."""
    for piece in work:
        piece()
    times: list[list[float]] = [[] for _ in work]
    for _ in range(repeats):
        for slot, piece in zip(times, work, strict=True):
            began = time.perf_counter()
            piece()
            slot.append(time.perf_counter() - began)
    return [statistics.median(slot) for slot in times]


def bench_start_up() -> None:
    def run(*words: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *words], capture_output=True, check=True)

    bare, with_help = medians([run("-c", "pass"), run("-m", "talos_cli", "--help")])
    print(f"talos --help           {with_help:.3f} s   python -c pass {bare:.3f} s   "
          f"+{with_help - bare:.3f} s (reach +0.25 s)")  # fmt: skip


def bench_selection(entries: int = 20_000_000) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (entries // 4_000, 200)
    scores = {
        str(number): torch.randn(shape, generator=generator).square_() * 10 ** (-number / 4)
        for number in range(20)
    }
    everywhere = {name: torch.ones(shape, dtype=torch.bool) for name in scores}
    count = entries // 10

    def over_everything() -> torch.Tensor:
        ranked = torch.cat([score.flatten() for score in scores.values()])
        return ranked <= torch.kthvalue(ranked, count).values

    ours, theirs = medians([lambda: keep_lowest(scores, everywhere, count), over_everything], 5)
    print(f"selection of 10%       {ours:.2f} s   concatenate and kthvalue {theirs:.2f} s   "
          f"ratio {ours / theirs:.2f}")  # fmt: skip


def bench_vector_size() -> None:
    def talos(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "talos_cli", *words, "-q"], check=True,
                       capture_output=True, cwd=folder)  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        model = ("--model", "tiny-clip", "--task", "digits")
        talos("calibrate", *model, "--sparsity", "0.9", "--method", "random", "-o", "m")
        talos("finetune", *model, "--method", "talos", "--mask", "m", "--steps", "5", "-o", "c")
        talos("vector", "--finetuned", "c", "-o", "sparse")
        talos("vector", "--finetuned", "c", "--sparse", "never", "-o", "dense")
        sparse, dense = ((Path(folder) / name).stat().st_size for name in ("sparse", "dense"))
    print(f"sparse vector, 90%     {sparse:,} bytes   dense {dense:,} bytes   "
          f"ratio {sparse / dense:.3f} (reach 0.14)")  # fmt: skip


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    bench_start_up()
    bench_selection()
    bench_vector_size()


if __name__ == "__main__":
    main()
