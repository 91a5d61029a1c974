"""Search of learning rates: each method and rate, judged by task negation on validation data.

    python recipes/search_rates.py OUT [--tasks digits …] [--methods talos …] [--sparsity 0.9]

The paper chooses hyper-parameters this way (App. A.1): fine-tune, subtract the vector with the α
that forgets the task most while the control keeps 95% of its accuracy, and take the rate that
leaves the least of the task. Only validation splits are read. Run it again to go on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RATES = {
    "nonlinear": (1e-4, 3e-4, 1e-3, 3e-3),
    "linearized": (3e-4, 1e-3, 3e-3),
    "l-lora": (3e-3, 1e-2, 3e-2),
    "lota": (3e-4, 1e-3, 3e-3, 1e-2),
    "talos": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}


@dataclass(frozen=True)
class Trial:
    """One method with one learning rate on one task.

    Args:
        folder: Where its files go.
        model: Model to fine-tune.
        control: Task whose accuracy must stay.
        method: Fine-tuning method.
        rate: Peak learning rate.
        task: Task to learn and to forget.
        sparsity: Of the mask, where the method takes one.
        seed: Key of everything random.
    """

    folder: Path
    model: str
    control: str
    method: str
    rate: float
    task: str
    sparsity: float
    seed: int

    @property
    def report(self) -> Path:
        """Where its accuracies are kept."""
        return self.folder / f"{self._stem(f'{self.rate:g}.')}.json"

    def _stem(self, rate: str = "") -> str:
        masked = f"{self.sparsity:g}." if self.method in ("talos", "lota") else ""
        return f"{self.method}.{masked}{rate}{self.task}.seed{self.seed}"

    def run(self) -> None:
        """Fine-tune, subtract, and write the accuracies down."""
        if self.report.exists():
            return
        from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
        from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
        from talos_engine.workflows.finetune import FinetuneRequest, finetune
        from talos_engine.workflows.negate import NegateRequest, negate_vector
        from talos_engine.workflows.opening import Common
        from talos_engine.workflows.vector import VectorRequest, make_vector

        common = Common(seed=self.seed, threads=1, force=True)
        mask = None
        if self.method in ("talos", "lota"):
            mask = self.folder / f"{self._stem()}.mask"
            if not mask.exists():
                request = CalibrateRequest(
                    self.model, self.task, self.sparsity, mask, method=self.method, common=common
                )
                calibrate(request)
        tuned, vector, edited = (self.report.with_suffix(f".{part}") for part in "cve")
        finetune(
            FinetuneRequest(
                self.model,
                self.task,
                self.method,
                tuned,
                mask=mask,
                training={"lr": self.rate},
                common=common,
            )
        )
        make_vector(VectorRequest(tuned, vector, common=common))
        search = negate_vector(
            NegateRequest(vector, edited, search=True, control=self.control, common=common)
        ).search
        assert search is not None
        single = evaluate(EvaluateRequest((tuned,), (self.task,), split="val", common=common))
        found = {
            "forgotten": search.chosen.accuracy[self.task],
            "coef": search.chosen.coef,
            "single": single.models[0].mean,
        }
        self.report.write_text(json.dumps(found) + "\n", encoding="utf-8")
        for path in self.folder.glob(f"{self.report.stem}.*"):
            if path.is_dir():  # a model of transformers
                shutil.rmtree(path)
            elif path != self.report:
                path.unlink()


def summarize(trials: Sequence[Trial]) -> str:
    """A Markdown table: means over tasks by method and rate, the best rate of each marked."""
    rows: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for trial in trials:
        found = json.loads(trial.report.read_text("utf-8"))
        rows.setdefault((trial.method, trial.rate), []).append(found)
    means = {
        key: {name: statistics.mean(one[name] for one in found) for name in found[0]}
        for key, found in rows.items()
    }
    lines = [
        "| method | learning rate | negated target, val | single-task, val | mean α |",
        "|---|---|---|---|---|",
    ]
    for (method, rate), mean in means.items():
        best = min(value["forgotten"] for (name, _), value in means.items() if name == method)
        mark = " ←" if mean["forgotten"] == best else ""
        lines.append(
            f"| {method} | {rate:g} | {100 * mean['forgotten']:.1f}{mark} "
            f"| {100 * mean['single']:.1f} | {mean['coef']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny-clip")
    parser.add_argument("--tasks", nargs="+", default=["digits", "shapes", "signs"])
    parser.add_argument("--control", default="letters")
    parser.add_argument("--methods", nargs="+", default=list(RATES), choices=list(RATES))
    parser.add_argument("--rates", nargs="+", type=float, help="instead of each method's own")
    parser.add_argument("--sparsity", type=float, default=0.9, help="of the masks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    trials = [
        Trial(given.out, given.model, given.control, method, rate, task, given.sparsity, given.seed)
        for method in given.methods
        for rate in given.rates or RATES[method]
        for task in given.tasks
    ]
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    # All rates of one task run in one process after another: they share the mask.
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        list(pool.map(_run_all, [[t for t in trials if t.task == task] for task in given.tasks]))
    print(f"{given.model}, masks of sparsity {given.sparsity:g}, seed {given.seed}\n")
    print(summarize(trials))


def _run_all(trials: Sequence[Trial]) -> None:
    for trial in trials:
        trial.run()


if __name__ == "__main__":
    main()
