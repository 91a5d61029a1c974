"""The same pictures from every kind of source; what is wrong is named with its file and row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from talos_engine.data.examples import load_examples
from talos_engine.data.images import decode_image
from talos_engine.data.labels import ClassList
from talos_engine.data.source import SOURCE_KINDS, detect_source
from talos_engine.errors import DataError

PETS = ("cat", "dog", "guinea pig")
CLASSES = ClassList("pets", PETS)
SIZES = {"train": 6, "test": 3}
FORMATS = ("csv", "jsonl", "json", "parquet", "arrow", "saved", "folder", "hub layout")


def rows_of(split: str, png: Callable[..., bytes]) -> dict[str, list[Any]]:
    start = 0 if split == "train" else 50
    labels = [number % 3 for number in range(SIZES[split])]
    return {"image": [png(start + number) for number in range(SIZES[split])], "label": labels}


def write(kind: str, folder: Path, png: Callable[..., bytes]) -> Path:
    """The pets in one format; what to name with ``--data`` is returned."""
    folder.mkdir()
    whole = {split: rows_of(split, png) for split in SIZES}
    named = {
        split: {"image": rows["image"], "label": [PETS[label] for label in rows["label"]]}
        for split, rows in whole.items()
    }
    if kind == "saved":
        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=PETS))
        parts = {
            split: datasets.Dataset.from_dict(
                {**rows, "image": [{"bytes": data, "path": None} for data in rows["image"]]},
                features,
            )
            for split, rows in whole.items()
        }
        datasets.DatasetDict(parts).save_to_disk(str(folder / "saved"))
        return folder / "saved"
    for split, rows in whole.items():
        if kind in ("parquet", "arrow", "hub layout"):
            part = datasets.Dataset.from_dict(rows)
            if kind == "parquet":
                part.to_parquet(str(folder / "train.parquet").replace("train", split))
            elif kind == "arrow":
                part.save_to_disk(str(folder / "made"))
                shutil.copy(next((folder / "made").glob("*.arrow")), folder / f"{split}.arrow")
                shutil.rmtree(folder / "made")
            else:
                (folder / "data").mkdir(exist_ok=True)
                half = len(rows["label"]) // 2
                for part_number, chosen in enumerate((range(half), range(half, SIZES[split]))):
                    name = f"{split}-0000{part_number}-of-00002.parquet"
                    part.select(chosen).to_parquet(str(folder / "data" / name))
            continue
        paths = []
        for number, (data, name) in enumerate(
            zip(rows["image"], named[split]["label"], strict=True)
        ):
            # An image folder is read class by class: number files so that the order stays.
            place = f"{split}/{name}" if kind == "folder" else f"images/{split}"
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / f"{number:03}.png").write_bytes(data)
            paths.append(f"{place}/{number:03}.png")
        table = datasets.Dataset.from_dict({"image": paths, "label": named[split]["label"]})
        if kind == "csv":
            table.to_csv(str(folder / f"{split}.csv"))
        elif kind in ("json", "jsonl"):
            table.to_json(str(folder / f"{split}.{kind}"))
    return folder


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_format_gives_the_same_pictures_and_labels(
    tmp_path: Path,
    png: Callable[..., bytes],
    make_picture: Callable[..., Any],
    kind: str,
    split: str,
) -> None:
    found = load_examples(detect_source(write(kind, tmp_path / "pets", png)), split, CLASSES)
    labels = [number % 3 for number in range(SIZES[split])]
    order = sorted(range(SIZES[split]), key=labels.__getitem__) if kind == "folder" else None
    numbers = order or range(SIZES[split])
    assert found.labels.tolist() == [labels[number] for number in numbers]
    start = 0 if split == "train" else 50
    for encoded, number in zip(found.images.encoded(), numbers, strict=True):
        image = decode_image(encoded)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(make_picture(start + number)))


def test_every_kind_of_source_is_described_and_says_when_it_is_gone(tmp_path: Path) -> None:
    assert SOURCE_KINDS.names() == ("folder", "hub", "manual", "saved", "table")
    for name in ("folder", "saved", "table"):
        source = SOURCE_KINDS.get(name).make(path=tmp_path / "gone")
        assert not source.available()
        assert "gone" in source.describe()
        with pytest.raises(DataError, match="gone"):
            source.require("pets")


def table(folder: Path, text: str, name: str = "train.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def complaint(path: Path, split: str = "train", classes: ClassList = CLASSES) -> DataError:
    with pytest.raises(DataError) as caught:
        load_examples(detect_source(path), split, classes)
    return caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture,label\na.png,cat\n", ["train.csv", "no column 'image'", "picture, label"]),
        ("image,kind\na.png,cat\n", ["train.csv", "no column 'label'"]),
        ("image,label\na.png,cat\nb.png,emu\n", ["train.csv, row 1", "no class 'emu'", "guinea"]),
        ("image,label\na.png,0\nb.png,3\n", ["train.csv, row 1", "label 3", "3 classes"]),
        ("image,label\na.png,0\nb.png,-1\n", ["train.csv, row 1", "label -1"]),
        ("image,label\na.png,cat\nb.png,\n", ["train.csv, row 1", "no label"]),
        ("image,label\na.png,0.5\nb.png,1\n", ["train.csv, row 0", "label 0.5"]),
        ("image,label\na.png,1\nb.png,\n", ["train.csv, row 1", "no label"]),
        ("image,label\na.png,True\n", ["train.csv", "'label' holds bool", "not labels"]),
        ("image,label\n1,cat\n", ["train.csv", "'image' holds", "not images"]),
        ("image,label\n", ["train.csv", "no row"]),
        ("", ["train.csv"]),
    ],
)
def test_a_malformed_table_is_named_with_its_row(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    error = complaint(table(tmp_path / "pets", text))
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.parquet", b"PAR1 not really"),
        ("train.arrow", b"\xff" * 100),
        ("train.jsonl", b'{"image": "a.png", "label": \n'),
        ("train.csv", b'image,label\n"a.png,cat\n'),
        ("train.csv", b"\xff\xfe\x00image,label\n"),
        ("train.json", b"[1, 2"),
    ],
)
def test_a_damaged_table_is_one_message(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    error = complaint(tmp_path / name)
    assert name in error.message
    assert "\n" not in error.message
    assert len(error.message) < 500


def test_bad_rows_are_left_out_and_counted_if_wanted(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    path = table(tmp_path / "pets", "image,label\na,cat\nb,emu\nc,dog\nd,\ne,1\n")
    run = using(skip_bad=True)
    found = load_examples(detect_source(path), "train", CLASSES)
    assert found.labels.tolist() == [0, 1, 1], "a number may stand for a label"
    assert found.images.rows.tolist() == [0, 2, 4]
    assert run.skipped == {"pets": {"train_labels": 2}}
    nothing = table(tmp_path / "none", "image,label\na,emu\n")
    with pytest.raises(DataError, match="emu"):
        load_examples(detect_source(nothing), "train", CLASSES)


@pytest.mark.parametrize(
    "place", ["../outside.png", "sub/../../outside.png", "{outside}", "link.png", "a\\0b"]
)
def test_a_path_out_of_the_folder_is_refused(
    tmp_path: Path, png: Callable[..., bytes], place: str
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(0))
    folder = tmp_path / "pets"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.png").symlink_to(outside)
    text = place.format(outside=outside)
    rows = {"image": [text.replace("\\0", "\0")], "label": ["cat"]}
    datasets.Dataset.from_dict(rows).to_parquet(str(folder / "train.parquet"))
    found = load_examples(detect_source(folder), "train", CLASSES)
    with pytest.raises(DataError, match="leaves the folder") as caught:
        list(found.images.encoded())
    assert "train.parquet, row 0" in caught.value.message


def test_a_link_within_an_image_folder_may_lead_elsewhere(
    tmp_path: Path, pets_folder: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (pets_folder / "train" / "cat").rename(elsewhere)
    (pets_folder / "train" / "cat").symlink_to(elsewhere)
    found = load_examples(detect_source(pets_folder), "train", CLASSES)
    assert len(found.labels) == 12
    assert not any(image.problem for image in found.images.encoded())


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "pets", "image,label\nnowhere.png,cat\n")
    (image,) = load_examples(detect_source(path), "train", CLASSES).images.encoded()
    with pytest.raises(DataError, match=r"nowhere\.png .*train\.csv, row 0") as caught:
        decode_image(image)
    assert "No such file" in caught.value.message


def test_a_pipe_in_place_of_an_image_is_not_waited_for(tmp_path: Path) -> None:
    path = table(tmp_path / "pets", "image,label\npipe,cat\n")
    os.mkfifo(path.parent / "pipe")
    (image,) = load_examples(detect_source(path), "train", CLASSES).images.encoded()
    assert image.problem == "it is not a file"


def test_an_image_folder_says_what_is_missing(pets_folder: Path) -> None:
    shutil.rmtree(pets_folder / "test")
    assert len(load_examples(detect_source(pets_folder), "train", CLASSES).labels) == 12
    error = complaint(pets_folder, "test")
    assert "no folder 'test'" in error.message
    assert "it has train" in error.message
    (pets_folder / "train").rename(pets_folder / "test")
    assert "no folder 'train'" in complaint(pets_folder).message


def test_an_empty_class_is_named(pets_folder: Path) -> None:
    (pets_folder / "train" / "emu").mkdir()
    (pets_folder / "train" / "emu" / "notes.txt").write_text("none yet")
    assert str(pets_folder / "train" / "emu") in complaint(pets_folder).message


def test_hidden_and_other_files_in_an_image_folder_are_passed_over(pets_folder: Path) -> None:
    (pets_folder / "train" / ".git").mkdir()
    (pets_folder / "train" / "cat" / "._0.png").write_bytes(b"")
    (pets_folder / "train" / "cat" / "list.csv").write_text("a,b")
    assert len(load_examples(detect_source(pets_folder), "train", CLASSES).labels) == 12


def test_an_unknown_class_folder_is_named(pets_folder: Path) -> None:
    (pets_folder / "test" / "dog").rename(pets_folder / "test" / "emu")
    error = complaint(pets_folder, "test")
    assert "no class 'emu'" in error.message
    assert str(pets_folder / "test") in error.message


def test_one_file_is_training_data_unless_it_says_more(tmp_path: Path) -> None:
    alone = table(tmp_path / "a", "image,label\na,cat\nb,dog\n", "pets.csv")
    assert len(load_examples(detect_source(alone), "train", CLASSES).labels) == 2
    error = complaint(alone, "test")
    assert "no test split" in error.message
    assert "'split'" in error.hint
    both = table(
        tmp_path / "b", "image,label,split\na,cat,train\nb,dog,test\nc,dog,train\n", "p.csv"
    )
    train = load_examples(detect_source(both), "train", CLASSES)
    assert (train.labels.tolist(), train.images.rows.tolist()) == ([0, 1], [0, 2])
    assert load_examples(detect_source(both), "test", CLASSES).images.rows.tolist() == [1]
    bad = table(
        tmp_path / "c", "image,label,split\na,emu,test\nb,cat,train\nc,emu,train\n", "p.csv"
    )
    assert "row 2" in complaint(bad).message, "rows are those of the file"


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    path = table(tmp_path / "pets", "image,label\na,None\nb,NA\nc,nan\n")
    odd = ClassList("odd", ("nan", "NA", "None"))
    assert load_examples(detect_source(path), "train", odd).labels.tolist() == [2, 1, 0]


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    path = table(tmp_path / "pets", "image,label\na,cat\n")
    assert load_examples(detect_source(path), "train", CLASSES).labels.tolist() == [0]
    path.write_text("image,label\na,dog\n")
    assert load_examples(detect_source(path), "train", CLASSES).labels.tolist() == [1]


@pytest.mark.parametrize("kind", ["csv", "parquet", "saved", "folder", "hub layout"])
@pytest.mark.parametrize("own", ["validation", "test"])
def test_a_copy_may_keep_or_rename_the_splits(
    tmp_path: Path, png: Callable[..., bytes], kind: str, own: str
) -> None:
    path = write(kind, tmp_path / "pets", png)
    if own == "validation":
        for place in (path, path / "data"):
            for found in sorted(place.glob("test*")):
                found.rename(found.with_name(found.name.replace("test", "validation")))
    like = SOURCE_KINDS.get("hub").make(repo="a/b", test="validation")
    assert len(load_examples(detect_source(path, like), "test", CLASSES).labels) == 3


def test_a_saved_dataset_without_splits_is_training_data(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    datasets.Dataset.from_dict(rows_of("train", png)).save_to_disk(str(tmp_path / "one"))
    assert len(load_examples(detect_source(tmp_path / "one"), "train", CLASSES).labels) == 6
    assert "no test split" in complaint(tmp_path / "one", "test").message


def test_a_saved_dataset_without_a_split_names_those_it_has(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    part = datasets.Dataset.from_dict(rows_of("train", png))
    datasets.DatasetDict(validation=part).save_to_disk(str(tmp_path / "saved"))
    error = complaint(tmp_path / "saved")
    assert "no split 'train'" in error.message
    assert "validation" in error.message


def test_what_holds_no_data_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match="no data that can be read"):
            detect_source(path)
    with pytest.raises(DataError, match="no file or folder"):
        detect_source(tmp_path / "gone")
