"""``tiny-t5``: the embedded T5 over bytes whose weights ship with this package."""

from __future__ import annotations

from pathlib import Path

from talos_engine.models.spec import MODELS
from talos_engine.models.t5_models import make_spec

FOLDER = Path(__file__).parent.parent / "tiny_t5"
NAME = "tiny-t5"
EMBEDDED = "embedded"

_SHARED = {
    "steps": 300,
    "batch_size": 32,
    "weight_decay": 0.0,
    "warmup": 0,
    "schedule": "constant",
    "clip": 0.0,
}

MODELS.register(NAME)(
    make_spec(
        NAME,
        EMBEDDED,
        lambda: FOLDER,
        description="small T5 over bytes pre-trained by this project on composed sentences",
        training_defaults={
            "": {**_SHARED, "lr": 1e-3},
            "talos": {"lr": 3e-3},
            "lota": {"lr": 3e-3},
            "linearized": {"lr": 1e-3},
            "l-lora": {"lr": 1e-2},
        },
    )
)
