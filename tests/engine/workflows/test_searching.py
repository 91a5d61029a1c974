"""What is tuned for every task before its coefficient is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from talos_engine.artifacts import read_checkpoint, read_metrics
from talos_engine.evaluation.accuracy import measure_accuracy
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)


def test_tall_s_lambda_is_the_best_of_its_values_for_every_task(
    toy_files: Any, tmp_path: Path
) -> None:
    vectors = tuple(toy_files.vector(task, "nonlinear") for task in "abc")
    out = tmp_path / "found"
    add_vectors(AddRequest(vectors, out, method="tall", search=True, grid="plain", common=CPU))
    for task in ("toy-a", "toy-b", "toy-c"):
        scores = {}
        for value in (0.2, 0.3, 0.4, 0.5, 0.6):
            request = AddRequest(
                vectors, tmp_path / "tried", method="tall", options={"tall_lambda": value},
                coefs=(1.0,), common=CPU,
            )  # fmt: skip
            add_vectors(request)
            backbone = build_backbone(load_weights(str(tmp_path / f"tried/{task}.safetensors")))
            session = Session(backbone.weights, backbone, CPU.runtime())
            measured = measure_accuracy(session.evaluation_task(task, "val"), session.runtime)
            scores[value] = measured.correct
        chosen = read_checkpoint(out / f"{task}.safetensors").header.config["options"]
        assert scores[chosen["tall_lambda"]] == max(scores.values())
        assert chosen["tall_lambda"] == min(v for v in scores if scores[v] == max(scores.values()))
        report = read_metrics(out / f"{task}.search.json")
        assert report["options"] == chosen


def test_what_is_given_is_not_tuned(toy_files: Any, tmp_path: Path) -> None:
    vectors = tuple(toy_files.vector(task, "nonlinear") for task in "ab")
    request = AddRequest(
        vectors, tmp_path / "m", method="tall", options={"tall_lambda": 0.55}, search=True,
        grid="plain", common=CPU,
    )  # fmt: skip
    add_vectors(request)
    config = read_checkpoint(tmp_path / "m/toy-a.safetensors").header.config
    assert config["options"] == {"tall_lambda": 0.55}
