"""Layer-wise AdaMerging; its arithmetic is tested in ``test_adamerging``."""

from __future__ import annotations

from talos_engine.merging.adamerging import AdaMergingConfig
from talos_engine.merging.spec import MERGE_METHODS


def test_it_is_registered() -> None:
    entry = MERGE_METHODS.get("adamerging-layer")
    assert (entry.config, entry.learns, entry.draws) == (AdaMergingConfig, True, True)
