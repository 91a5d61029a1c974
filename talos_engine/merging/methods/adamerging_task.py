"""``adamerging-task``: one learned coefficient for every task."""

from __future__ import annotations

from functools import partial

from talos_engine.merging.adamerging import AdaMergingConfig, merge_adaptively
from talos_engine.merging.spec import MERGE_METHODS, MergeEntry

MERGE_METHODS.register("adamerging-task")(
    MergeEntry(
        "adamerging-task",
        "Yang et al. 2024, arXiv:2310.02575",
        AdaMergingConfig,
        partial(merge_adaptively, layerwise=False),
        draws=True,
        learns=True,
    )
)
