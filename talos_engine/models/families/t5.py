"""Family ``t5``: T5 models of ``transformers``."""

from __future__ import annotations

from talos_engine.models.spec import MODEL_FAMILIES, ModelFamily
from talos_engine.models.t5_architecture import MODEL_TYPE, is_t5_folder
from talos_engine.models.t5_models import folder_spec, hub_spec, named_spec, recorded_spec

MODEL_FAMILIES.register("t5")(
    ModelFamily("t5", named_spec, is_t5_folder, folder_spec, recorded_spec, MODEL_TYPE, hub_spec)
)
