"""Models of open_clip on the command line; the slow half runs all commands on ViT-B-32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import read_header, read_mask
from talos_engine.data.settings import DataSettings, use_data
from talos_engine.data.splits import find_task, load_split
from talos_engine.models.loading import load_weights
from talos_engine.workflows.opening import Common, open_session

COLOURS = ("red", "green", "blue", "grey")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of four colours: 10 training and 3 test images each, of any size."""
    folder = tmp_path_factory.mktemp("colours") / "colours"
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for label, name in enumerate(COLOURS):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 90, (40 + number, 52, 3))
                pixels[..., label % 3] += 60 * (label < 3)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.fixture
def data(colours: Path) -> tuple[object, ...]:
    return ("--task", "colours", "--data", colours)


def test_the_pipeline_on_an_architecture_and_a_weights_file(
    talos: Callable[..., Any], small_vit: Path, data: tuple[object, ...], tmp_path: Path
) -> None:
    model = ("--model", "Small-ViT", "--pretrained", f"openai={small_vit / 'small.pt'}")
    few = ("--batches", 1, "--batch-size", 4, "--rounds", 1)
    done = talos("calibrate", *model, *data, "--sparsity", 0.5, *few, "-o", "m.safetensors")
    assert (done.code, done.out) == (0, "m.safetensors\n"), done.err
    base = read_header(tmp_path / "m.safetensors").base
    assert (base.name, base.pretrained) == ("Small-ViT", "openai")
    assert base.architecture["model_cfg"]["quick_gelu"] is True
    assert str(small_vit) not in json.dumps(base.architecture)
    tune = ("finetune", *data, "--method", "talos", "--mask", "m.safetensors", "--steps", 2)
    done = talos(*tune, *model, "--lr", 0.01, "-o", "c.safetensors")
    assert done.code == 0, done.err
    done = talos("vector", "--finetuned", "c.safetensors", *model[2:], "-o", "v.safetensors")
    assert done.code == 0, "without --model the recorded architecture: " + done.err
    done = talos("add", "v.safetensors", *model, "--coef", 1, "-o", "a.safetensors")
    assert done.code == 0, done.err
    assert "--pretrained=openai=" in (tmp_path / "a.md").read_text()
    for file in ("a.safetensors", "v.safetensors", "c.safetensors"):
        done = talos("evaluate", file, *model, *data, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["tasks"]["colours"]["n"] == 12
    done = talos("evaluate", "--model", "c.safetensors", *data, "--json")
    assert done.code == 0, "a checkpoint needs no other file: " + done.err
    assert "% of kind" in talos("inspect", "m.safetensors").plain_err, "the structure is known"


def test_bases_are_compared_by_hash_and_architecture(
    talos: Callable[..., Any], small_vit: Path, data: tuple[object, ...]
) -> None:
    small, other = (small_vit / f"{name}.safetensors" for name in ("small", "other"))
    words = ("calibrate", "--model", "Small-ViT", *data, "--sparsity", 0.5, "--method", "random")
    done = talos(*words, "--pretrained", f"openai={small}", "-o", "m.safetensors")
    assert done.code == 0, done.err
    tune = ("finetune", "--model", "Small-ViT", *data, "--method", "talos", "--steps", 1)
    for pretrained, told in ((other, "another base"), (small, "quick_gelu")):
        done = talos(*tune, "--mask", "m.safetensors", "--pretrained", pretrained, "-o", "c")
        assert done.code == 1
        assert told in done.plain_err
        done = talos(
            *tune, "--mask", "m.safetensors", "--pretrained", pretrained, "-o", "c", "--dry-run"
        )
        assert done.code == 1, "already without weights, for the activation differs"
    done = talos("evaluate", "--model", "Small-ViT", *data, "--pretrained", other, "--dry-run")
    assert done.code == 0, done.err


def test_a_resnet_keeps_its_running_statistics(
    talos: Callable[..., Any], small_vit: Path, data: tuple[object, ...], tmp_path: Path
) -> None:
    import open_clip

    weights = small_vit / "resnet.safetensors"
    model = ("--model", "Small-RN", "--pretrained", weights)
    few = ("--batches", 1, "--batch-size", 4, "--rounds", 1)
    done = talos("calibrate", *model, *data, "--sparsity", 0.5, *few, "-o", "m.safetensors")
    assert done.code == 0, done.err
    mask = read_mask(tmp_path / "m.safetensors")
    assert not any(".bn" in name or "running" in name for name in mask.shapes)
    assert "visual.attnpool.k_proj.weight" in mask.shapes
    done = talos(
        "finetune", *model, *data, "--method", "nonlinear", "--steps", 2, "--lr", 0.01,
        "-o", "c.safetensors",
    )  # fmt: skip
    assert done.code == 0, done.err
    before, after = load_file(weights), load_file(tmp_path / "c.safetensors")
    statistics = [name for name in before if "running" in name or "num_batches" in name]
    assert len(statistics) > 30
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    name = "visual.layer1.0.bn1.weight"
    assert not torch.equal(before[name], after[name]), "trained, though never masked"
    open_clip.create_model("Small-RN", pretrained=str(tmp_path / "c.safetensors"))


@pytest.mark.parametrize("form", ["file", "folder"])
def test_counters_that_training_changed_stay_those_of_the_base(
    talos: Callable[..., Any], small_vit: Path, tmp_path: Path, form: str
) -> None:
    weights = small_vit / "resnet.safetensors"
    state = load_file(weights)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    for name in counters[1:]:
        state[name] += 7
    state["visual.conv1.weight"] += 0.5
    model, tuned = ("--model", "Small-RN", "--pretrained", weights), tmp_path / "tuned"
    if form == "file":
        torch.save(state, tuned)
    else:
        for place in (tmp_path / "base", tuned):
            place.mkdir()
            config = {"model_cfg": json.loads((small_vit / "configs/Small-RN.json").read_text())}
            (place / "open_clip_config.json").write_text(json.dumps(config))
        model = ("--model", tmp_path / "base")
        save_file(load_file(weights), tmp_path / "base/open_clip_model.safetensors")
        save_file(state, tuned / "open_clip_model.safetensors")
    done = talos("vector", "--finetuned", tuned, *model, "-o", "v.safetensors")
    assert done.code == 0, done.err
    told = " ".join(done.plain_err.split())
    assert f"{len(counters) - 1} integer buffers that training changed stay as in the base" in told
    done = talos("add", "v.safetensors", *model, "--coef", 1, "-o", "again.safetensors")
    assert done.code == 0, done.err
    found, before = load_file(tmp_path / "again.safetensors"), load_file(weights)
    for name, value in found.items():
        assert torch.equal(value, (before if name in counters else state)[name])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--model", "tiny-clip", "--pretrained", "openai"], 2, "has its own weights"),
        (["--model", "Small-ViT", "--pretrained", "gone.pt"], 2, "no such file"),
        (["--model", "Small-ViT", "--pretrained", "x.txt"], 1, "safetensors"),
        (["--model", "coca_ViT-B-32"], 1, "CoCa"),
        (["--model", "ViT-B-33"], 1, "did you mean 'ViT-B-32'"),
        (["--model", "ViT-B-32", "--pretrained", "laion2b"], 2, "laion2b_s34b_b79k"),
    ],
)
def test_wrong_models_are_one_message(
    talos: Callable[..., Any],
    small_vit: Path,
    tmp_path: Path,
    words: list[str],
    code: int,
    told: str,
) -> None:
    (tmp_path / "x.txt").write_text("not weights")
    done = talos("calibrate", *words, "--task", "digits", "--sparsity", 0.9, "-o", "m")
    assert done.code == code
    assert told in done.plain_err
    assert done.out == ""
    assert not (tmp_path / "m").exists()


def test_offline_the_message_names_weights_and_data(talos_process: Callable[..., Any]) -> None:
    done = talos_process("calibrate", "--model", "ViT-B-32", "--task", "dtd", "--sparsity", "0.9")
    assert (done.code, done.out) == (1, "")
    for text in (
        "weights of ViT-B-32 (openai",
        "data of task 'dtd'",
        "--pretrained openai=FILE",
        "--model tiny-clip",
        "--data PATH",
        "HF_HUB_OFFLINE is set",
    ):
        assert text in done.plain_err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 2


def test_a_dry_run_needs_no_weights(talos: Callable[..., Any]) -> None:
    words = ("--model", "ViT-B-32", "--task", "digits", "--dry-run")
    done = talos("calibrate", *words, "--sparsity", 0.9, "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert plan["maskable_entries"] == 87_416_832
    assert plan["weights"] == "missing"
    done = talos("finetune", *words, "--method", "nonlinear", "--json")
    assert json.loads(done.out)["steps"] == 2000


def test_models_lists_what_is_here_and_what_is_not(talos: Callable[..., Any]) -> None:
    few = json.loads(talos("models", "--json").out)["models"]
    everything = json.loads(talos("models", "--all", "--json").out)["models"]
    assert {"name", "pretrained", "available", "description", "takes"} == set(few[0])
    assert next(model for model in few if model["name"] == "ViT-B-32")["pretrained"] == "openai"
    pairs = {(model["name"], model["pretrained"]) for model in everything}
    assert ("ViT-B-16", "laion2b_s34b_b88k") in pairs
    assert not any(name.startswith("coca") for name, _ in pairs)
    assert len(few) < 20 < len(everything)


# --- ViT-B-32 itself, with random weights: what needs its real size ---

LIBRARY = """
import json, sys
from pathlib import Path
import open_clip, torch
from PIL import Image
from safetensors.torch import load_file
name, checkpoint, folder = sys.argv[1:]
torch.set_num_threads(1)
model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=checkpoint or None)
tokenizer = open_clip.get_tokenizer(name)
model.eval()
with torch.no_grad():
    names = sorted(path.name for path in Path(folder, "test").iterdir())
    head = model.encode_text(tokenizer([f"a photo of a {name}." for name in names]), normalize=True)
    files = [path for name in names for path in sorted(Path(folder, "test", name).iterdir())]
    pixels = torch.stack([preprocess(Image.open(path)) for path in files])
    logits = model.logit_scale.exp() * model.encode_image(pixels, normalize=True) @ head.T
assert not any(name.startswith("talos") for name in sys.modules)
print(json.dumps({"names": names, "logits": logits.tolist(), "files": [str(f) for f in files]}))
"""


@pytest.fixture(scope="module")
def vit_b_32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of ViT-B-32, saved by open_clip's own model: random ones."""
    import open_clip
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**open_clip.get_model_config("ViT-B-32")).state_dict(), path)
    return path


@pytest.mark.slow
def test_all_eight_commands_run_on_vit_b_32(
    talos: Callable[..., Any], vit_b_32: Path, colours: Path, tmp_path: Path
) -> None:
    def run(*words: object) -> Any:
        done = talos(*words, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    model = ("--model", "ViT-B-32", "--pretrained", vit_b_32)
    data = ("--data", f"colours={colours}", "--data", f"other={colours}", "--threads", 1)
    own, other = (("--task", name, "--data", f"{name}={colours}") for name in ("colours", "other"))
    few = ("--batches", 1, "--batch-size", 4, "--rounds", 1)
    made = run("calibrate", *model, *own, "--sparsity", 0.9, *few, "-o", "m.safetensors")
    assert made["total"] == 87_416_832
    steps = ("--steps", 1, "--batch-size", 4, "--lr", 1e-3)
    talosly = ("--method", "talos", "--mask", "m.safetensors")
    run("finetune", *model, *own, *talosly, *steps, "-o", "c.safetensors")
    run("finetune", *model, *other, *talosly, *steps, "--seed", 1, "-o", "d.safetensors")
    for name in "cd":
        run("vector", *model, "--finetuned", f"{name}.safetensors", "-o", f"{name}.v.safetensors")
    vectors = ("c.v.safetensors", "d.v.safetensors")
    run("add", *vectors, *model, "--coef", 0.5, "-o", "merged.safetensors")
    run("negate", vectors[0], *model, "--coef", 1, "-o", "forgot.safetensors")
    evaluated = run("evaluate", "merged.safetensors", *model, *own)
    run("disentangle", *vectors, *model, *data, "--grid", 2, "--points", 4, "-o", "map.json")
    profiled = ("--methods", "nonlinear", "--iters", 1, "--batch-size", 4)
    run("profile", *model, *own, *profiled, "-o", "cost.json")

    def library(*words: object) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY, *map(str, words), colours],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    theirs = library("ViT-B-32", tmp_path / "merged.safetensors")
    run("export", "merged.safetensors", *model, "--to", "open_clip", "-o", "exported")
    assert library(f"local-dir:{tmp_path / 'exported'}", "") == theirs
    labels = [theirs["names"].index(Path(file).parent.name) for file in theirs["files"]]
    predicted = torch.tensor(theirs["logits"]).argmax(1).tolist()
    correct = sum(one == two for one, two in zip(labels, predicted, strict=True))
    assert evaluated["tasks"]["colours"] == {"accuracy": correct / 12, "correct": correct, "n": 12}
    with use_data(DataSettings(paths={"colours": colours})):
        session = open_session(
            load_weights(str(tmp_path / "merged.safetensors")), Common(device="cpu").runtime()
        )
        inputs, _ = session.prepare(load_split(find_task("colours"), "test"))
        with torch.no_grad():
            ours = session.classifier("colours")(inputs)
    torch.testing.assert_close(ours, torch.tensor(theirs["logits"]), rtol=1e-4, atol=1e-4)
    assert ours.argmax(1).tolist() == predicted
