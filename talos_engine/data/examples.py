"""From an opened source to labelled examples: columns, labels, and rows that cannot be used."""

from __future__ import annotations

import numpy as np

from talos_engine.data.images import LazyImages
from talos_engine.data.labels import BAD, ClassList, check_column, empty_classes, read_labels
from talos_engine.data.settings import current_data
from talos_engine.data.source import Source, reading
from talos_engine.data.spec import RawExamples
from talos_engine.errors import DataError


def load_examples(source: Source, split: str, classes: ClassList) -> RawExamples:
    """The examples of one split of a source, in its order; no image is decoded.

    Rows without a usable label are refused, or left out and counted with ``skip_bad``.

    Args:
        source: Where they come from.
        split: ``"train"`` or ``"test"``.
        classes: The classes of the task.

    Raises:
        DataError: a column is missing or holds no images or labels, or a row cannot be used; the
            file and row are named.
    """
    import datasets

    source.require(classes.task)
    table = source.open(split)
    for column in (source.image, source.label):
        check_column(table, column)
    labels, problem = read_labels(table, source.label, classes)
    rows = np.arange(len(labels)) if table.rows is None else np.array(table.rows, dtype=np.int64)
    run = current_data()
    usable = rows[labels[rows] != BAD]
    if problem and not run.settings.skip_bad:
        raise DataError(problem, "--skip-bad leaves such rows out")
    if not len(usable):
        raise DataError(problem or f"{table.where} has no row", "there is nothing to learn from")
    run.report_skipped(classes.task, split, "labels", len(rows) - len(usable))
    run.report_broken(classes.task, split, table.broken, shared=table.shared)
    missing = empty_classes(labels[usable], classes)
    run.report_empty_classes(classes.task, split, table.where, missing, len(classes.names))
    feature = table.dataset.features[source.image]
    if not _holds_images(feature):
        raise DataError(
            f"{table.where}: column {source.image!r} holds {feature}, not images",
            "images are stored as bytes, or as paths relative to the table",
        )
    with reading(table.where):
        images = table.dataset.select_columns([source.image]).cast_column(
            source.image, datasets.Image(decode=False)
        )
    lazy = LazyImages(images, source.image, usable, table.where, table.folder, table.listed)
    return RawExamples(lazy, labels[usable])


def _holds_images(feature: object) -> bool:
    """Whether ``datasets`` can see images in a column: its own kind, bytes, paths, or both."""
    import datasets

    if isinstance(feature, datasets.Image):
        return True
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", "") in ("string", "large_string", "binary", "large_binary")
