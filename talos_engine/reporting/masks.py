"""Where masks are live, and what masks of several tasks share, read from the files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from talos_engine.inspection.tally import Tally
from talos_engine.reporting.document import Block, Remark
from talos_engine.reporting.fields import Fields
from talos_engine.reporting.figures import Axis, Heatmap
from talos_engine.reporting.measures import overlap_maps
from talos_engine.reporting.scanning import ArtifactFile
from talos_engine.workflows.inspect import InspectRequest, inspect

_MOST_COMPARED = 16
_MOST_DRAWN = 12
_MOST_KINDS = 60


def mask_blocks(files: Sequence[ArtifactFile]) -> list[Block]:
    """Structure of each mask (Fig. 4, 5) and overlaps of those that one method made side by side.

    Args:
        files: Masks.
    """
    groups: dict[tuple[str, str, str], list[ArtifactFile]] = {}
    for file in files:
        if file.header is None:
            continue
        folder = Path(file.name).parent.as_posix()
        key = folder, file.header.method, file.header.base.hash
        groups.setdefault(key, []).append(file)
    drawn: list[Block] = []
    overlaps: list[Block] = []
    for (folder, method, _), own in groups.items():
        compared = own[:_MOST_COMPARED]
        found = inspect(InspectRequest(tuple(file.path for file in compared)))
        for file, report in zip(compared, found.files, strict=True):
            if report.tally is not None:
                drawn.append(_structure(file, report.tally, by_tensor=report.by_tensor))
        if found.comparison is not None:
            content = Fields(compared[0].path, found.comparison.as_json(), "overlap")
            place = "" if folder == "." else f" in {folder}"
            overlaps += overlap_maps(f"{method} masks{place}", content)
        if len(own) > len(compared):
            overlaps.append(Remark(f"{len(own) - len(compared)} more masks are left out."))
    left = len(drawn) - _MOST_DRAWN
    if left > 0:
        drawn = [*drawn[:_MOST_DRAWN], Remark(f"{left} more masks are not drawn.")]
    return [*overlaps, *drawn]


def _structure(file: ArtifactFile, tally: Tally, *, by_tensor: bool) -> Heatmap:
    """Live share by kind (rows) and layer (columns), or by tensor where these are not known."""
    counts = tally.by_kind
    fullest = set(sorted(counts, key=lambda kind: -counts[kind].live)[:_MOST_KINDS])
    kinds = [kind for kind in counts if kind in fullest]
    layers = list(tally.by_layer)
    cells = tally.by_cell
    values = [
        [cells[layer, kind].share if (layer, kind) in cells else None for layer in layers]
        for kind in kinds
    ]
    whole = tally.overall
    top = sorted(kinds, key=lambda kind: -counts[kind].live)[:3]
    shares = ", ".join(
        f"{kind} {100 * counts[kind].live / max(whole.live, 1):.0f}%" for kind in top
    )
    return Heatmap(
        file.name.removesuffix(".safetensors"),
        f"Share of live entries by kind of parameter and layer; "
        f"{whole.live:,} of {whole.total:,} entries are live.",
        f"Where the mask is live; of its entries {shares}.",
        ("– stands for what is outside the layers.",) if -1 in layers and not by_tensor else (),
        kinds,
        [str(layer) if layer >= 0 else "–" for layer in layers],
        values,
        "%",
        (0.0, max((v for row in values for v in row if v is not None), default=0.0) or 1.0),
        Axis("layer") if not by_tensor else Axis(""),
        Axis("tensor" if by_tensor else "kind"),
    )
