"""``adamerging-layer``: one learned coefficient for every task and tensor."""

from __future__ import annotations

from functools import partial

from talos_engine.merging.adamerging import AdaMergingConfig, merge_adaptively
from talos_engine.merging.spec import MERGE_METHODS, MergeEntry

MERGE_METHODS.register("adamerging-layer")(
    MergeEntry(
        "adamerging-layer",
        "Yang et al. 2024, arXiv:2310.02575",
        AdaMergingConfig,
        partial(merge_adaptively, layerwise=True),
        draws=True,
        learns=True,
    )
)
