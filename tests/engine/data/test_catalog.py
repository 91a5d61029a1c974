"""Each task of the catalog reads a data set of its own schema; its names and prompts are sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from talos_engine.data.declaration import check_template, read_catalog
from talos_engine.data.finding import find_task, list_tasks
from talos_engine.data.names import catalog_names, task_names
from talos_engine.data.sources import hub
from talos_engine.data.sources.hub import HubSource
from talos_engine.data.spec import TEXTS, TextExamples
from talos_engine.data.splits import load_split
from talos_engine.errors import DataError

CLASSES = {
    "cars": 196,
    "dtd": 47,
    "eurosat": 10,
    "gtsrb": 43,
    "imagenet": 1000,
    "mnist-full": 10,
    "resisc45": 45,
    "sun397": 397,
    "svhn": 10,
}
STORY = {f"input_sentence_{number}": f"Part {number}." for number in range(1, 5)}
CHOICES = {"text": ["more", "less"], "label": ["A", "B"]}
# Rows of each task's schema, and the label that they mean.
TEXT_ROWS: dict[str, tuple[dict[str, Any], int]] = {
    "paws": ({"id": 1, "sentence1": "A b.", "sentence2": "B a.", "label": 1}, 1),
    "qasc": (
        {
            "question": "What?",
            "fact1": "One.",
            "fact2": "Two.",
            "choices": {"text": list("stuvwxyz"), "label": list("ABCDEFGH")},
            "answerKey": "F",
        },
        5,
    ),
    "quartz": ({"para": "P.", "question": "Q?", "choices": CHOICES, "answerKey": "B"}, 1),
    "rte": ({"idx": 0, "sentence1": "A.", "sentence2": "B.", "label": 0}, 0),
    "story_cloze": (
        {**STORY, "sentence_quiz1": "Bad.", "sentence_quiz2": "Good.", "answer_right_ending": 2},
        1,
    ),
    "wiki_qa": ({"question": "who?", "document_title": "T", "answer": "He.", "label": 0}, 0),
    "winogrande": (
        {"sentence": "The _ fell.", "option1": "cup", "option2": "mug", "answer": "2"},
        1,
    ),
    "wsc": ({"text": "He ran.", "span1_text": "Bob", "span2_text": "He", "label": 1}, 1),
}
BINARY = {
    "paws": ["0", "1"],
    "rte": ["entailment", "not_entailment"],
    "wiki_qa": ["0", "1"],
    "wsc": ["False", "True"],
}
# What the cards of the hub's repositories declare where it differs from our class names.
DECLARED = {
    "imagenet": [f"thing {number}, synonym" for number in range(1000)],
    "sun397": [f"/a/{number}" for number in range(397)],
}


def test_the_catalog_has_the_tasks_of_the_paper_and_their_controls() -> None:
    assert set(catalog_names()) == set(CLASSES) | set(TEXT_ROWS)
    assert [spec.name for spec in list_tasks()] == list(task_names())


@pytest.mark.parametrize("name", CLASSES)
def test_each_is_declared_soundly(name: str) -> None:
    declaration = read_catalog(name)
    assert declaration.name == name
    assert declaration.description
    assert declaration.control == (name == "imagenet")
    assert len(declaration.class_names) == CLASSES[name]
    assert len({*declaration.class_names}) >= CLASSES[name] - 2, "ImageNet has two twins"
    assert not any("_" in each for each in declaration.class_names), "human-readable"
    assert len(declaration.templates) >= 1
    for template in declaration.templates:
        check_template(template, name)
    assert isinstance(declaration.source, HubSource)
    assert declaration.source.repo.count("/") == 1


def test_the_names_and_prompts_of_imagenet_are_open_clips() -> None:
    from open_clip import zero_shot_metadata

    declaration = read_catalog("imagenet")
    assert list(declaration.class_names) == list(zero_shot_metadata.IMAGENET_CLASSNAMES)
    prompts = [template("x") for template in zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES]
    assert [template.format("x") for template in declaration.templates] == prompts


@pytest.mark.parametrize("name", CLASSES)
def test_a_data_set_of_the_same_schema_is_read(
    tmp_path: Path, png: Callable[..., bytes], using: Callable[..., Any], name: str
) -> None:
    declaration = read_catalog(name)
    source = declaration.source
    assert isinstance(source, HubSource)
    count = CLASSES[name]
    names = DECLARED.get(name, list(declaration.class_names))
    features = datasets.Features(
        {source.image: datasets.Image(), source.label: datasets.ClassLabel(names=names)}
    )
    labels = [0, 1, count - 1, 2, 5] * 4

    def part(start: int) -> datasets.Dataset:
        images = [{"bytes": png(start + row), "path": None} for row in range(len(labels))]
        return datasets.Dataset.from_dict({source.image: images, source.label: labels}, features)

    splits = {source.train: part(0), source.test: part(100), "contrast": part(200)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    run = using(paths={name: tmp_path / "saved"})
    spec = find_task(name)
    assert spec.class_names == declaration.class_names
    assert spec.templates == declaration.templates
    test = load_split(spec, "test")
    assert test.labels.tolist() == labels
    parts = [load_split(spec, split) for split in ("train", "val")]
    assert [len(each) for each in parts] == [18, 2]
    assert sorted(np.concatenate([each.labels for each in parts])) == sorted(labels)
    assert [image.data for image in test.images.encoded()] == [png(100 + row) for row in range(20)]
    guessed = [note for note in run.notes if "the same order" in note]
    assert bool(guessed) == (name in DECLARED), "an order taken for granted is said"


@pytest.mark.parametrize("name", TEXT_ROWS)
def test_texts_of_the_same_schema_are_read(
    tmp_path: Path, using: Callable[..., Any], name: str
) -> None:
    row, label = TEXT_ROWS[name]
    declaration = read_catalog(name)
    source = declaration.source
    assert declaration.control == (name == "rte")

    def part(count: int) -> datasets.Dataset:
        made = datasets.Dataset.from_list([row] * count)
        if name in BINARY:
            made = made.cast_column("label", datasets.ClassLabel(names=BINARY[name]))
        return made

    sizes = {source.train: 40, source.test: 50} | ({source.val: 7} if source.val else {})
    saved = {split: part(size) for split, size in sizes.items()}
    datasets.DatasetDict(saved).save_to_disk(str(tmp_path / "saved"))
    using(paths={name: tmp_path / "saved"})
    spec = find_task(name)
    assert spec.kind == TEXTS
    parts = {split: load_split(spec, split) for split in ("train", "val", "test")}
    found = {split: len(each) for split, each in parts.items()}
    if source.val:
        assert found == {"train": 40, "val": 7, "test": 50}
    else:
        assert found == {"train": 40, "val": 32, "test": 18}
    examples = parts["test"].examples
    assert isinstance(examples, TextExamples)
    assert set(examples.labels.tolist()) == {label}
    for value in row.values():
        if isinstance(value, str) and value not in (
            row.get("answerKey"),
            row.get("document_title"),
        ):
            assert value in examples.texts[0] or value in examples.choices[0] + ("2",)
    assert "{" not in examples.texts[0] + "".join(examples.choices[0])
    if spec.class_names:
        assert set(examples.choices) == {spec.class_names}


def test_a_task_that_must_be_fetched_by_hand_says_so() -> None:
    with pytest.raises(DataError, match="cannot be fetched by itself") as caught:
        find_task("story_cloze")
    assert "--data story_cloze=PATH" in caught.value.hint


def test_story_cloze_is_read_as_its_authors_send_it(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    head = (
        "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
        "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
    )
    rows = "".join(
        f'{number},One.,Two.,"Three, four.",Five.,Bad.,Good.,2\n' for number in range(40)
    )
    for name in ("validation", "test"):
        (tmp_path / f"{name}.csv").write_text(head + rows)
    using(paths={"story_cloze": tmp_path})
    found = load_split(find_task("story_cloze"), "train").examples
    assert isinstance(found, TextExamples)
    assert found.texts[0].strip().startswith("One. Two. Three, four. Five.")
    assert (found.choices[0], found.labels[0]) == (("Bad.", "Good."), 1)


def test_imagenet_is_taken_in_its_own_layout(pets_folder: Path, using: Callable[..., Any]) -> None:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog", "guinea_pig")):
            (pets_folder / split / name).rename(pets_folder / split / f"{number}")
    (pets_folder / "test").rename(pets_folder / "val")
    (pets_folder / "test").mkdir()
    (pets_folder / "test" / "unlabelled.JPEG").write_bytes(b"")
    using(paths={"imagenet": pets_folder})
    assert load_split(find_task("imagenet"), "test").labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", CLASSES)
def test_sizes_are_known(name: str) -> None:
    assert set(read_catalog(name).sizes) == {"train", "test"}


@pytest.mark.network
@pytest.mark.parametrize("name", CLASSES)
def test_the_hub_has_what_the_catalog_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    if hub.is_offline() or not hub.hub_answers():
        pytest.skip("the hub cannot be reached")
    declaration = read_catalog(name)
    source = declaration.source
    assert isinstance(source, HubSource)
    if name == "imagenet":
        pytest.skip("the repository is gated")
    info = datasets.load_dataset_builder(source.repo, source.config or None).info
    feature = info.features[source.label]
    assert isinstance(info.features[source.image], datasets.Image)
    assert len(feature.names) == len(declaration.class_names)
    for split, size in declaration.sizes.items():
        assert info.splits[source.own_split(split)].num_examples == size
    assert {source.train, source.test} <= set(info.splits)
