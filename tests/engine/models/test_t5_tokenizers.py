"""T5 tokenizers of sentencepiece: the folder has ``spiece.model`` and no ``tokenizer.json``."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli

from talos_engine.errors import ModelError
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.models.t5_architecture import make_tokenizer

SENTENCES = ("there is a red cat here", "a green bird is there", "the blue dog reads", "one black")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def pieces(t5_toys: Any, tmp_path: Path) -> Path:
    """``v11`` with the files of a tokenizer as T5 v1.1 has them on the hub."""
    import sentencepiece

    folder = Path(shutil.copytree(t5_toys.model("v11"), tmp_path / "pieces"))
    for path in folder.iterdir():
        if "token" in path.name:
            path.unlink()
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(20 * SENTENCES), model_writer=file, vocab_size=40,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 100}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def test_pieces_alone_are_a_tokenizer(pieces: Path) -> None:
    import sentencepiece

    reference: Any = sentencepiece.SentencePieceProcessor(model_file=str(pieces / "spiece.model"))
    tokenizer = make_tokenizer(pieces, "own")
    for sentence in (*SENTENCES, "a bird reads there"):
        tokens = reference.encode(sentence)
        assert len(set(tokens)) > 2
        assert tokenizer(sentence).input_ids == [*tokens, 1]
    backbone = build_backbone(load_weights(str(pieces)))
    text = [*reference.encode("a red cat"), 1]
    encoded = backbone.encode_texts(["a red cat"], [("cat", "dog")])[0, 0].tolist()
    assert [token for token in encoded if token > 0] == text


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf"])
def test_what_reads_pieces_is_named_where_it_is_missing(
    pieces: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        if name != missing:
            return find(name, package)
        if "." in name:  # as where the package around it is not there
            raise ModuleNotFoundError(name)
        return None

    (pieces.parent / "whole").mkdir()
    make_tokenizer(pieces, "own").save_pretrained(pieces.parent / "whole")
    monkeypatch.setattr(importlib.util, "find_spec", without)
    make_tokenizer(pieces.parent / "whole", "own")
    package = missing.rpartition(".")[2]
    with pytest.raises(ModelError, match=rf"spiece\.model, which needs {package} \(") as caught:
        make_tokenizer(pieces, "own")
    assert f"pip install {package};" in caught.value.hint


def test_what_reads_pieces_is_installed_with_talos() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomli.load(file)["project"]["dependencies"]
    assert {"sentencepiece", "protobuf"} <= {name.partition(">")[0] for name in wanted}
