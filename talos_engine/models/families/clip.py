"""Family ``clip``: models of open_clip."""

from __future__ import annotations

from talos_engine.models.clip_hub import saved_spec
from talos_engine.models.clip_models import (
    folder_spec,
    is_model_folder,
    named_spec,
    recorded_spec,
)
from talos_engine.models.clip_transformers_config import MODEL_TYPE
from talos_engine.models.spec import MODEL_FAMILIES, ModelFamily

MODEL_FAMILIES.register("clip")(
    ModelFamily(
        "clip", named_spec, is_model_folder, folder_spec, recorded_spec, MODEL_TYPE, saved_spec
    )
)
