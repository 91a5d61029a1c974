"""A report of any folder: what ``talos run`` recorded, or the files that are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from talos_engine.errors import ArtifactError
from talos_engine.reporting.accuracies import accuracy_tables, edit_heatmaps
from talos_engine.reporting.document import Block, Document, Listing, Remark, Section
from talos_engine.reporting.masks import mask_blocks
from talos_engine.reporting.measures import (
    addition_curves,
    cost_blocks,
    disentanglement_map,
    negation_curves,
    overlap_maps,
)
from talos_engine.reporting.run_folder import RUN_FILE, read_run
from talos_engine.reporting.scanning import ArtifactFile, MetricsFile, Scan, scan_folder

_HASH = 12  # digits of a hash that tell it from others


def gather_report(folder: Path) -> Document:
    """What there is to say about a folder.

    Args:
        folder: A run folder, or any folder with files that talos commands wrote.

    Raises:
        ArtifactError: no folder, nothing of talos in it, or a file that is damaged or malformed.
    """
    if (folder / RUN_FILE).exists():
        return read_run(folder)
    scan = scan_folder(folder)
    if not scan.metrics and not scan.artifacts:
        raise ArtifactError(
            f"{folder} holds nothing that talos wrote",
            "give the folder of a run, or one with metrics, masks or checkpoints",
        )
    return _report_files(folder, scan)


def _report_files(folder: Path, scan: Scan) -> Document:
    by_kind: dict[str, list[MetricsFile]] = {}
    for file in scan.metrics:
        by_kind.setdefault(_kind(file), []).append(file)
    masks = [file for file in scan.artifacts if file.kind == "mask"]
    sections = [
        Section(name, title, tuple(blocks))
        for name, (title, make) in _SECTIONS.items()
        if (blocks := make(by_kind.get(name, [])))
    ]
    if masks and (blocks := mask_blocks(masks)):
        sections.append(Section("masks", "Masks", tuple(blocks)))
    sections.append(Section("provenance", "How it was made", _provenance(scan)))
    models = {file.header.base.name for file in scan.artifacts if file.header is not None}
    facts = [
        ("model", ", ".join(sorted(models)) or "–"),
        ("metrics files", str(len(scan.metrics))),
        ("artifacts", str(len(scan.artifacts))),
    ]
    return Document(
        folder.resolve().name,
        "Found in a folder of metrics and artifacts that no recipe describes.",
        facts,
        sections,
    )


def _kind(file: MetricsFile) -> str:
    """Which section a metrics file belongs to; empty for none."""
    if file.command == "evaluate":
        return "edits" if "edits" in file.fields else "accuracy"
    if file.command in ("add", "negate"):
        return file.command if "curve" in file.fields else ""
    if file.command == "inspect":
        return "overlaps" if "comparison" in file.fields else ""
    return file.command if file.command in _SECTIONS else ""


def _each(
    make: Callable[[MetricsFile], Sequence[Block]],
) -> Callable[[Sequence[MetricsFile]], list[Block]]:
    return lambda files: [block for file in files for block in make(file)]


def _overlaps(file: MetricsFile) -> Sequence[Block]:
    return overlap_maps(file.stem, file.fields.inner("comparison"))


_SECTIONS: Mapping[str, tuple[str, Callable[[Sequence[MetricsFile]], Sequence[Block]]]] = {
    "accuracy": ("Accuracy", accuracy_tables),
    "add": ("Coefficients of addition", addition_curves),
    "negate": ("Coefficients of negation", negation_curves),
    "disentangle": ("Disentanglement", _each(lambda file: [disentanglement_map(file)])),
    "edits": ("Insensitive parameters", _each(edit_heatmaps)),
    "overlaps": ("Overlaps", _each(_overlaps)),
    "profile": ("Cost", _each(cost_blocks)),
}


def _provenance(scan: Scan) -> list[Block]:
    blocks: list[Block] = []
    shown = set(_SECTIONS)
    if scan.metrics:
        blocks.append(
            Listing(
                f"Metrics files ({len(scan.metrics)})",
                ("file", "command", "seed", "inputs"),
                [_metrics_row(file) for file in scan.metrics],
                folded=True,
                code=frozenset({0, 3}),
            )
        )
    if scan.artifacts:
        blocks.append(
            Listing(
                f"Masks, checkpoints and vectors ({len(scan.artifacts)})",
                ("file", "kind", "method", "task", "seed", "base", "engine"),
                [_artifact_row(file) for file in scan.artifacts],
                folded=True,
                code=frozenset({0, 5}),
            )
        )
    left = [file.name for file in scan.metrics if _kind(file) not in shown]
    if left:
        blocks.append(Remark(f"Metrics that are listed only: {', '.join(left)}."))
    if scan.others:
        blocks.append(Remark(f"JSON files of other programs: {', '.join(scan.others)}."))
    return blocks


def _metrics_row(file: MetricsFile) -> list[str]:
    inputs = [
        f"{Path(item.text('path', '')).name} {item.text('sha256', '')[:_HASH]}"
        for item in file.fields.objects("inputs")
    ]
    for result in file.fields.objects("results") if _kind(file) == "accuracy" else ():
        source = result.inner_or_none("input")
        if source is not None:
            inputs.append(f"{Path(source.text('path')).name} {source.text('sha256', '')[:_HASH]}")
    seed = dict(file.fields.shown()).get("seed", "–")
    return [file.name, file.command, seed, ", ".join(inputs) or "–"]


def _artifact_row(file: ArtifactFile) -> list[str]:
    header = file.header
    if header is None:
        return [file.name, file.kind, "–", "–", "–", "–", "–"]
    return [
        file.name,
        file.kind,
        header.method,
        header.task or "–",
        str(header.seed),
        f"{header.base.name} {header.base.hash[:_HASH]}",
        header.engine,
    ]
