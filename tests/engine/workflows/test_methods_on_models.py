"""Every merging method on a real model: searches, model cards, negation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from talos_engine.artifacts import hash_tensors, read_checkpoint, read_metrics
from talos_engine.evaluation.accuracy import measure_accuracy
from talos_engine.merging.spec import MERGE_METHODS
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.registry import list_names
from talos_engine.workflows.add import AddRequest, add_vectors, default_output
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)
ALL = list_names("talos_engine.merging.methods")
METHODS = tuple(name for name in ALL if not MERGE_METHODS.get(name).learns)  # see test_learning


def accuracy(path: Path, task: str) -> float:
    backbone = build_backbone(load_weights(str(path)))
    session = Session(backbone.weights, backbone, CPU.runtime())
    return measure_accuracy(session.evaluation_task(task, "val"), session.runtime).value


@pytest.mark.parametrize("method", METHODS)
def test_searching_equals_trying_every_file(toy_files: Any, tmp_path: Path, method: str) -> None:
    """The curve's points are the checkpoints that ``--coef`` writes, its denominators the parts."""
    vectors = tuple(toy_files.vector(task, "nonlinear") for task in "ab")
    out = tmp_path / default_output(method)
    fixed = {"tall_lambda": 0.3} if method == "tall" else {}
    request = AddRequest(
        vectors, out, method=method, options=fixed, search=True, grid="plain", common=CPU
    )
    result = add_vectors(request)
    for task, model in (result.models or {"": result}).items():
        assert model.search is not None
        for point in model.search.curve[::7]:
            tried = tmp_path / "tried"
            again = AddRequest(
                vectors, tried, method=method, options=fixed, coefs=(point.coef,), common=CPU
            )
            add_vectors(again)
            path = tried / f"{task}.safetensors" if task else tried
            assert point.accuracy == {name: accuracy(path, name) for name in point.accuracy}
            if tried.is_dir():
                for each in tried.iterdir():
                    each.unlink()
                tried.rmdir()
        assert set(model.search.reference) == ({task} if task else {"toy-a", "toy-b"})
        for name, value in model.search.reference.items():
            own = "ab".index(name[-1])
            others = tuple(vectors[at] for at in (0, 1) if at != own)
            uses = method in ("ties", "tall", "consensus")
            negate_vector(
                NegateRequest(
                    vectors[own], tried, method=method, options=fixed,
                    others=others if uses else (), coef=-1.0, common=CPU,
                )
            )  # fmt: skip
            assert value == pytest.approx(accuracy(tried, name))
            for each in tmp_path.glob("tried*"):
                each.unlink()
        report = read_metrics(model.report)
        assert (report["method"], report["coef"]) == (method, model.search.chosen.coef)


@pytest.mark.parametrize("method", ALL)
def test_the_card_s_command_makes_the_checkpoint_again(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from talos_cli.main import app

    monkeypatch.chdir(tmp_path)
    vectors = tuple(toy_files.vector(task, "nonlinear") for task in "ab")
    out = tmp_path / "first folder" / default_output(method)
    out.parent.mkdir()
    coefs = (0.3, -1e-7)
    options = {"adamerging_steps": 3, "transductive": True} if method not in METHODS else {}
    common = Common(seed=3, device="cpu")
    request = AddRequest(vectors, out, method=method, options=options, coefs=coefs, common=common)
    result = add_vectors(request)
    model = next(iter(result.models.values())) if result.models else result
    assert model.card is not None
    card = model.card.read_text("utf-8")
    for path in vectors:
        assert f"`{path}`" in card
    for item in read_checkpoint(model.path).header.config["inputs"]:
        assert item["sha256"] in card
        assert repr(item["coef"]) in card
    words = shlex.split(card.split("```sh\n")[1].split("\n```")[0])
    assert words[:2] == ["talos", "add"]
    before = model.path.read_bytes()
    model.path.unlink()
    done = CliRunner().invoke(app, [*words[1:], "--force"])
    assert done.exit_code == 0, done.stderr
    assert model.path.read_bytes() == before
    assert model.card.read_text("utf-8") == card


def test_a_searched_model_s_card_names_the_coefficient_found(
    toy_files: Any, tmp_path: Path
) -> None:
    vectors = tuple(toy_files.vector(task) for task in "ab")
    out = tmp_path / "m.safetensors"
    result = add_vectors(AddRequest(vectors, out, method="ties", search=True, common=CPU))
    assert result.search is not None
    assert result.card == tmp_path / "m.md"
    assert f"--coef={result.search.chosen.coef!r}" in result.card.read_text("utf-8")
    negated = negate_vector(
        NegateRequest(vectors[0], tmp_path / "n", search=True, control="toy-b", common=CPU)
    )
    assert negated.card is not None
    text = negated.card.read_text("utf-8")
    assert f"talos negate {vectors[0]}" in text
    assert f"--coef={negated.coefs[0]!r}" in text


@pytest.mark.parametrize("method", ["ties", "tall", "consensus", "dare", "breadcrumbs", "mean"])
def test_negation_searches_with_every_method(toy_files: Any, tmp_path: Path, method: str) -> None:
    others = (toy_files.vector("b"),) if method in ("ties", "tall", "consensus") else ()
    request = NegateRequest(
        toy_files.vector("a"), tmp_path / "n", method=method, others=others, search=True,
        control="toy-c", common=CPU,
    )  # fmt: skip
    result = negate_vector(request)
    again = NegateRequest(
        toy_files.vector("a"), tmp_path / "m", method=method, others=others,
        coef=result.coefs[0], common=CPU,
    )  # fmt: skip
    negate_vector(again)
    first, second = (read_checkpoint(tmp_path / name).tensors for name in "nm")
    assert hash_tensors(first) == hash_tensors(second)
