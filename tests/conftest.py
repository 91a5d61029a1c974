"""A toy CLIP with random weights, toy tasks, and naive float64 oracles that tests compare with.

``toy-clip`` is a real open_clip model of a few thousand parameters; ``toy-a`` … ``toy-c`` are
tasks of a few dozen coloured images. Both are registered beside the shipped ones for the whole
session, so that workflows and commands can name them.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.models.open_clip_backbone import OpenClipBackbone, outline
from talos_engine.models.spec import MODELS, Backbone, BaseWeights, ModelSpec
from talos_engine.sensitivity.fisher import ExampleBatch
from talos_engine.workflows.opening import Common, Session, open_session

settings.register_profile(
    "talos",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("talos")

TOY_CONFIG = {
    "model_cfg": {
        "embed_dim": 12,
        "quick_gelu": False,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 16,
            "layers": 2,
            "width": 16,
            "head_width": 8,
        },
        "text_cfg": {
            "context_length": 8,
            "vocab_size": 20,
            "hf_tokenizer_name": "toy-clip",
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"size": [32, 32], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
}
COLOURS = ("red", "green", "blue", "grey")
TEMPLATES = ("a {}", "the {} picture")
WORDS = ("<pad>", "<unk>", "<start_of_text>", "a", "the", "picture", *COLOURS)
TOY_TRAINING = {
    "steps": 6,
    "batch_size": 16,
    "lr": 3e-3,
    "weight_decay": 0.0,
    "warmup": 2,
    "schedule": "cosine",
    "clip": 1.0,
}


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate((*WORDS, "<end_of_text>"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>",
        special_tokens=[(name, vocabulary[name]) for name in ("<start_of_text>", "<end_of_text>")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings_of_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 8,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "bos_token": "<start_of_text>",
        "eos_token": "<end_of_text>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_of_tokenizer))


def _write_toy_model(folder: Path, seed: int) -> None:
    import open_clip
    from safetensors.torch import save_file

    _write_tokenizer(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(TOY_CONFIG))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    generator = torch.Generator().manual_seed(seed)
    state = {
        # Biases and norms start at 0 and 1: noise makes every parameter matter.
        name: value + 0.2 * torch.randn(value.shape, generator=generator)
        if value.ndim
        else value.clone()
        for name, value in model.state_dict().items()
    }
    save_file(state, folder / "open_clip_model.safetensors")


def _toy_spec(name: str, folder: Path) -> ModelSpec:
    def build(weights: BaseWeights) -> Backbone:
        import open_clip

        source = f"local-dir:{folder}"
        model = open_clip.create_model(source, load_weights=False)
        return OpenClipBackbone(weights, model, lambda: open_clip.get_tokenizer(source))

    def read() -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(folder / "open_clip_model.safetensors")

    return dataclasses.replace(
        MODELS.get("tiny-clip"),
        name=name,
        description="random weights, for tests",
        pretrained="random",
        architecture=lambda: dict(TOY_CONFIG),
        read=read,
        build=build,
        skeleton=lambda: outline(TOY_CONFIG["model_cfg"]),
        training_defaults={"": TOY_TRAINING},
    )


def toy_images(labels: np.ndarray, seed: int, shift: int) -> np.ndarray:
    """Noise around a colour per class; ``shift`` turns the colours from task to task."""
    rng = np.random.default_rng(seed)
    centres = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [120, 120, 120]])
    means = centres[(labels + shift) % 4][:, None, None, :]
    noise = rng.normal(0, 40, (len(labels), 32, 32, 3))
    return np.clip(means + noise, 0, 255).astype(np.uint8)


def _toy_task(name: str, number: int) -> TaskSpec:
    def load(split: str) -> RawExamples:
        size = {"train": 80, "test": 48}[split]
        seed = 10 * number + len(split)
        labels = np.random.default_rng(seed).integers(0, 4, size).astype(np.int64)
        return RawExamples(toy_images(labels, seed + 1, number), labels)

    return TaskSpec(name, f"coloured noise {number}, for tests", COLOURS, TEMPLATES, load)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the toy model, as ``open_clip.create_model("local-dir:…")`` takes it."""
    return tmp_path_factory.getbasetemp() / "toy-clip"


@pytest.fixture(scope="session", autouse=True)
def _toys(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path) -> Iterator[None]:
    torch.set_num_threads(1)
    other = tmp_path_factory.getbasetemp() / "toy-other"
    for seed, (name, folder) in enumerate({"toy-clip": toy_folder, "toy-other": other}.items()):
        folder.mkdir()
        _write_toy_model(folder, seed)
        MODELS.register(name)(_toy_spec(name, folder))
    for number, name in enumerate(("toy-a", "toy-b", "toy-c")):
        EMBEDDED_TASKS.register(name)(_toy_task(name, number))
    yield
    for name in ("toy-clip", "toy-other"):
        del MODELS._entries[name]
    for name in ("toy-a", "toy-b", "toy-c"):
        del EMBEDDED_TASKS._entries[name]


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of prepared images and of ``datasets`` of this run's own, and no network."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALOS_CACHE_DIR", str(folder / "talos"))
        patch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        yield


@pytest.fixture
def toy_session() -> Session:
    """A fresh toy model on the CPU."""
    from talos_engine.models.loading import load_weights

    return open_session(load_weights("toy-clip"), Common(device="cpu").runtime())


class Linear3(nn.Module):
    """A classifier small enough to do by hand: two inputs, one tanh layer, three classes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.hidden = nn.Linear(2, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(inputs)))


@pytest.fixture
def small_classifier() -> Callable[..., Linear3]:
    """``small_classifier(seed)`` gives a two-layer classifier of three classes."""
    return Linear3


@pytest.fixture(scope="session")
def naive_fisher() -> Callable[..., dict[str, Tensor]]:
    """Eq. 7 as a loop over examples and classes in float64, with ``torch.autograd.grad``."""

    def compute(
        classifier: nn.Module,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        labels: Tensor,
        *,
        fisher: str = "type-2",
        score: str = "square",
        draws: Sequence[Sequence[int]] = (),
    ) -> dict[str, Tensor]:
        """``draws[i]`` are the labels of example i for ``mc``."""
        import copy

        model = copy.deepcopy(classifier).double()
        own = dict(model.named_parameters())
        for name, value in parameters.items():
            own[name].data.copy_(value)
            own[name].requires_grad_(True)
        totals = {name: torch.zeros(value.shape).double() for name, value in parameters.items()}
        for number in range(len(labels)):
            logits = model(inputs[number : number + 1].double())[0]
            log_p = logits - torch.logsumexp(logits, 0)
            if fisher == "empirical":
                terms = [(int(labels[number]), 1.0)]
            elif fisher == "type-2":
                terms = [(y, float(log_p[y].detach().exp())) for y in range(len(log_p))]
            else:
                terms = [(y, 1 / len(draws[number])) for y in draws[number]]
            for y, weight in terms:
                gradients = torch.autograd.grad(
                    log_p[y], [own[name] for name in parameters], retain_graph=True
                )
                for name, gradient in zip(parameters, gradients, strict=True):
                    size = gradient.abs() if score == "abs" else gradient * gradient
                    totals[name] += weight * size
        return {name: total / len(labels) for name, total in totals.items()}

    return compute


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., ExampleBatch]:
    """``make_batch(inputs, labels, ids=None)``."""

    def build(inputs: Tensor, labels: Tensor, ids: Any = None) -> ExampleBatch:
        numbers = torch.arange(len(labels)) if ids is None else torch.as_tensor(ids)
        return ExampleBatch(numbers, inputs, labels)

    return build


@dataclasses.dataclass(frozen=True)
class ToyFiles:
    """Files made once from the toy model; read them, do not change them."""

    folder: Path

    def mask(self, task: str = "a") -> Path:
        return self.folder / f"{task}.mask.safetensors"

    def checkpoint(self, task: str = "a", method: str = "talos") -> Path:
        return self.folder / f"{method}.{task}.ckpt.safetensors"

    def vector(self, task: str = "a", method: str = "talos", sparse: str = "auto") -> Path:
        return self.folder / f"{method}.{task}.{sparse}.vector.safetensors"


@pytest.fixture(scope="session")
def toy_files(tmp_path_factory: pytest.TempPathFactory) -> ToyFiles:
    """Masks, checkpoints and vectors (auto, sparse, dense) of the three toy tasks."""
    from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
    from talos_engine.workflows.finetune import FinetuneRequest, finetune
    from talos_engine.workflows.vector import VectorRequest, make_vector

    files = ToyFiles(tmp_path_factory.mktemp("toy-files"))
    common = Common(device="cpu")
    for task in "abc":
        name = f"toy-{task}"
        options = {"batches": 1, "rounds": 2}
        calibrate(
            CalibrateRequest(
                "toy-clip", name, 0.75, files.mask(task), options=options, common=common
            )
        )
        for method in ("talos", "nonlinear"):
            path = files.checkpoint(task, method)
            mask = files.mask(task) if method == "talos" else None
            finetune(FinetuneRequest("toy-clip", name, method, path, mask, common=common))
            for sparse in ("auto", "always", "never"):
                make_vector(VectorRequest(path, files.vector(task, method, sparse), sparse=sparse))
    return files


@pytest.fixture(scope="session")
def toy_scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the toy model on ``toy-a``."""
    from talos_engine.workflows.calibrate import CalibrateRequest, calibrate

    folder = tmp_path_factory.mktemp("toy-scores")
    path = folder / "a.scores.safetensors"
    calibrate(
        CalibrateRequest(
            "toy-clip",
            "toy-a",
            0.9,
            folder / "mask",
            options={"rounds": 1, "batches": 1},
            save_scores=path,
            common=Common(device="cpu"),
        )
    )
    return path


SMALL_CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "layers": 2,
        "width": 16,
        "head_width": 8,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 8,
        "heads": 2,
        "layers": 1,
    },
}


SMALL_RESNET = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": SMALL_CONFIG["text_cfg"],
}


@pytest.fixture(scope="session")
def small_vit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``Small-ViT`` as an architecture of open_clip; gives a folder with weights of it.

    Like ``ViT-B-32`` but tiny: GELU in its configuration, a tag ``openai`` of QuickGELU weights.
    ``small.safetensors``, ``small.pt`` and ``other.safetensors`` are what the library itself saves.
    ``Small-RN`` with ``resnet.safetensors`` is a ResNet without tags.
    """
    import open_clip
    from open_clip import factory, pretrained
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("small-vit")
    (folder / "configs").mkdir()
    (folder / "configs" / "Small-ViT.json").write_text(json.dumps(SMALL_CONFIG))
    (folder / "configs" / "Small-RN.json").write_text(json.dumps(SMALL_RESNET))
    open_clip.add_model_config(folder / "configs")
    torch.manual_seed(2)
    save_file(open_clip.CLIP(**SMALL_RESNET).state_dict(), folder / "resnet.safetensors")
    tag = {**pretrained.get_pretrained_cfg("ViT-B-32", "openai"), "hf_hub": "someone/small/"}
    later = {**tag, "hf_hub": "someone/later/", "quick_gelu": False}
    pretrained._PRETRAINED["Small-ViT"] = {"openai": tag, "later": later}
    for seed, name in enumerate(("small", "other")):
        torch.manual_seed(seed)
        state = open_clip.CLIP(**SMALL_CONFIG).state_dict()
        generator = torch.Generator().manual_seed(seed)
        state = {
            key: value + 0.2 * torch.randn(value.shape, generator=generator)
            if value.ndim
            else value
            for key, value in state.items()
        }
        save_file(state, folder / f"{name}.safetensors")
        torch.save({"epoch": 3, "state_dict": state}, folder / f"{name}.pt")
    yield folder
    del pretrained._PRETRAINED["Small-ViT"]
    factory._MODEL_CONFIG_PATHS.remove(folder / "configs")
    for name in ("Small-ViT", "Small-RN"):
        factory._MODEL_CONFIGS.pop(name)


def _run_step(name: str, **changes: Any) -> dict[str, Any]:
    """A step of ``run.json``."""
    group, _, task = name.partition(".")
    return {
        "id": name,
        "group": group,
        "variables": {"task": task, "seed": 0},
        "command": ["talos", group, "--task", task, "--threads", "1"],
        "inputs": [],
        "outputs": [f"artifacts/{name}.safetensors"],
        "state": "done",
        "key": "ab" * 32,
        "seconds": 12.5,
        "exit_code": 0,
        "log": f"logs/{name}.log",
        **changes,
    }


def _run_results() -> dict[str, dict[str, Any]]:
    """One result of each kind, as ``talos run`` writes them."""

    def share(mean: float, paper: float | None = None) -> dict[str, Any]:
        return {"mean": mean, "std": 0.004, "n": 3, "values": [], "paper": paper, "note": ""}

    table = {
        "kind": "table",
        "title": "Task addition",
        "caption": "Test accuracy of one model with both vectors.",
        "columns": [
            {"key": "absolute", "label": "absolute", "unit": "%", "better": "higher"},
            {"key": "normalized", "label": "normalized", "unit": "%", "better": "higher"},
            {"key": "coef", "label": "α", "unit": "", "better": None},
        ],
        "rows": [
            {
                "label": "zero-shot",
                "variables": {},
                "cells": {
                    "absolute": {
                        "mean": 0.5667,
                        "std": None,
                        "n": 1,
                        "low": 0.55,
                        "high": 0.58,
                        "paper": 0.4772,
                    }
                },
            },
            {
                "label": "nonlinear",
                "variables": {},
                "cells": {
                    "absolute": share(0.698, 0.7125),
                    "normalized": share(0.768, 0.7694),
                    "coef": share(0.25),
                },
            },
            {
                "label": "talos",
                "variables": {},
                "cells": {
                    "absolute": share(0.672, 0.7967),
                    "normalized": share(0.805, 0.9073),
                    "coef": share(0.38),
                },
            },
        ],
        "paper": {"table": "task_addition", "model": "ViT-B-32"},
        "notes": ["Three seeds."],
        "sources": ["artifacts/merged.json"],
    }
    coefs = [i / 20 for i in range(21)]
    curve = {
        "kind": "curve",
        "title": "Choosing α",
        "caption": "Validation data.",
        "alt": "Both curves rise to a maximum and fall.",
        "x": {"label": "α", "unit": ""},
        "y": {"label": "normalized accuracy", "unit": "%"},
        "series": [
            {
                "label": name,
                "variables": {},
                "x": coefs,
                "y": [0.7 + peak * c - c * c / 2 for c in coefs],
                "mark": {"x": peak, "y": 0.7 + peak * peak / 2, "label": "chosen"},
            }
            for name, peak in (("talos", 0.4), ("nonlinear", 0.25))
        ],
        "notes": [],
    }
    places = [-3 + 6 * i / 9 for i in range(10)]
    labels = [f"{place:.3g}" for place in places]
    heatmap = {
        "kind": "heatmap",
        "title": "Disentanglement error",
        "caption": "Darker is worse.",
        "alt": "The error is small around the origin.",
        "rows": labels,
        "columns": labels,
        "values": [[min(1.0, (a * a + b * b) / 12) for b in places] for a in places],
        "unit": "",
        "range": [0, 1],
        "box": [0, 1],
        "x": {"label": "α₁"},
        "y": {"label": "α₂"},
        "notes": [],
    }
    matrix = {
        "kind": "heatmap",
        "title": "Localization",
        "caption": "Accuracy relative to the pre-trained model.",
        "alt": "The diagonal is largest.",
        "rows": ["digits", "mnist"],
        "columns": ["digits", "mnist"],
        "values": [[1.4, 0.9], [0.95, None]],
        "unit": "%",
        "range": None,
        "notes": ["One pair was not measured."],
    }
    bars = {
        "kind": "bars",
        "title": "Cost of a step",
        "caption": "Mean over 5 steps.",
        "alt": "TaLoS is fastest.",
        "unit": "ms",
        "labels": ["nonlinear", "talos"],
        "series": [
            {"label": "forward-backward", "values": [80.0, 61.0]},
            {"label": "optimizer", "values": [9.0, None]},
        ],
        "stacked": True,
        "notes": [],
    }
    figure = {
        "kind": "figure",
        "title": "A picture",
        "caption": "As a command drew it.",
        "alt": "A grey square.",
        "file": "artifacts/picture.png",
        "data": [],
        "notes": [],
    }
    found = {
        "table1": table,
        "curve": curve,
        "xi": heatmap,
        "localization": matrix,
        "cost": bars,
        "picture": figure,
    }
    made = {
        "recipe": "table1-tiny",
        "title": "Table 1 on tiny-clip",
        "recipe_hash": "cd" * 32,
        "record": "records/first.json",
        "engine": "0.1.0",
        "settings": {"model": "tiny-clip", "seeds": [0, 1, 2], "lr": {"talos": 0.001}},
        "steps": ["calibrate.digits", "finetune.digits"],
    }
    return {
        name: {"schema": 1, "name": name, "made": copy.deepcopy(made), **content}
        for name, content in found.items()
    }


@dataclasses.dataclass
class RunFolder:
    """A folder as ``talos run`` leaves it; change it, then ``write`` it.

    Attributes:
        path: Where it is.
        run: ``run.json``.
        results: ``results/NAME.json`` by name.
        logs: By step.
        records: ``records/NAME.json`` by name; ``first.json`` is like ``run.json`` where not given.
    """

    path: Path
    run: dict[str, Any]
    results: dict[str, dict[str, Any]]
    logs: dict[str, str]
    records: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def write(self) -> Path:
        from PIL import Image

        for folder in ("results", "logs", "artifacts", "records"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        (self.path / "run.json").write_text(json.dumps(self.run))
        for name, content in {"first": self.run, **self.records}.items():
            (self.path / "records" / f"{name}.json").write_text(json.dumps(content))
        for name, content in self.results.items():
            (self.path / "results" / f"{name}.json").write_text(json.dumps(content))
        for name, text in self.logs.items():
            (self.path / "logs" / f"{name}.log").write_text(text)
        Image.new("RGB", (40, 30), "grey").save(self.path / "artifacts" / "picture.png")
        return self.path


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    """A small run with one result of each kind, a failed step and a pending one."""
    steps = [
        _run_step("calibrate.digits"),
        _run_step("finetune.digits", seconds=40.25),
        _run_step("calibrate.mnist", state="failed", exit_code=1, seconds=0.5),
        _run_step("finetune.mnist", state="pending", exit_code=None, seconds=None),
    ]
    run = {
        "schema": 1,
        "engine": "0.1.0",
        "name": "table1-tiny",
        "title": "Table 1 on tiny-clip",
        "description": "Task addition with two tasks and three seeds.",
        "recipe_hash": "cd" * 32,
        "settings": {"model": "tiny-clip", "seeds": [0, 1, 2], "lr": {"talos": 0.001}},
        "environment": {"python": "3.11.2", "cores": 2, "memory_bytes": 8 * 2**30},
        "steps": steps,
    }
    logs = {"calibrate.mnist": "reading\ntalos: there is no task 'mnist'\n"}
    return RunFolder(tmp_path / "run", run, _run_results(), logs)


@dataclasses.dataclass(frozen=True)
class T5Toys:
    """Random T5 models and text tasks, made once; read them, do not change them.

    ``v10`` has tied embeddings and ReLU, ``v11`` a last projection of its own and gated GELU, both
    a tokenizer of bytes without a vocabulary file; ``sharded`` is ``v10`` in several files.
    """

    folder: Path

    def model(self, name: str = "v10") -> str:
        return str(self.folder / name)

    def data(self, task: str) -> Path:
        return self.folder / "data" / task


def _write_toy_t5(folder: Path, *, tied: bool, shards: Path | None = None) -> None:
    from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration

    generator = torch.Generator().manual_seed(int(tied))
    config = T5Config(
        vocab_size=384,
        d_model=24,
        d_kv=6,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="relu" if tied else "gated-gelu",
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
    )
    torch.manual_seed(int(tied))
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.randn(384, 24, generator=generator))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    places = {folder: "5GB"} | ({shards: "40KB"} if shards is not None else {})
    for place, size in places.items():
        model.save_pretrained(place, max_shard_size=size)
        ByT5Tokenizer().save_pretrained(place)


def write_text_task(folder: Path, words: Sequence[str], sizes: Mapping[str, int]) -> None:
    """JSONL files ``train`` and ``test``: which of two or three words is in the text."""
    folder.mkdir(parents=True)
    for number, (split, size) in enumerate(sizes.items()):
        rng = np.random.default_rng(number)
        lines = []
        for _ in range(size):
            chosen = rng.permutation(words)[: rng.integers(2, 4)].tolist()
            label = int(rng.integers(len(chosen)))
            text = f"there is a {chosen[label]} here"
            lines.append(json.dumps({"text": text, "choices": chosen, "label": label}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def t5_toys(tmp_path_factory: pytest.TempPathFactory) -> T5Toys:
    """Random T5 models in folders, and the tasks ``colour`` and ``animal`` as JSONL."""
    folder = tmp_path_factory.mktemp("t5-toys")
    _write_toy_t5(folder / "v10", tied=True, shards=folder / "sharded")
    _write_toy_t5(folder / "v11", tied=False)
    sizes = {"train": 60, "test": 30}
    for task, words in (
        ("colour", ("red", "green", "blue", "black")),
        ("animal", ("cat", "dog", "bird")),
    ):
        write_text_task(folder / "data" / task, words, sizes)
    return T5Toys(folder)


@pytest.fixture
def text_data(t5_toys: T5Toys) -> Iterator[Any]:
    """The data of ``colour`` and ``animal``, as ``--data`` would give them."""
    from talos_engine.data.settings import DataSettings, use_data

    paths = {task: t5_toys.data(task) for task in ("colour", "animal")}
    with use_data(DataSettings(paths=paths)) as run:
        yield run
