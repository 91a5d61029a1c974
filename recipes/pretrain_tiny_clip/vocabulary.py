"""The tokenizer of ``tiny-clip``: whole words, and letters for words that pre-training never saw.

Technically a WordPiece vocabulary in a Hugging Face ``tokenizer.json``, which
``open_clip.get_tokenizer("local-dir:…")`` reads. The end token has the highest number, because
open_clip's text tower reads its output where the token number is largest.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<start_of_text>", "<end_of_text>"
_SIGNS = string.digits + string.punctuation


def build_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Tokenizer in which every word of ``texts`` is one token.

    Args:
        texts: Captions and prompts; case does not matter.
    """
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    letters = set(string.ascii_lowercase)
    pieces = [
        *string.ascii_lowercase,
        *_SIGNS,
        *(f"##{sign}" for sign in string.ascii_lowercase + string.digits),
    ]
    entries = [PAD, UNKNOWN, START, *pieces, *sorted(words - letters), END]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=40)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([PAD, UNKNOWN, START, END])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "bos_token": START,
        "eos_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def token_table(
    tokenizer: Tokenizer, texts: Iterable[str], context_length: int
) -> NDArray[np.int64]:
    """Token numbers of each text, int64, shape (number of texts, context_length), zeros behind."""
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token=PAD)
    table = np.array([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return table


def spelled_table(
    rng: np.random.Generator, tokenizer: Tokenizer, texts: Iterable[str], context_length: int
) -> NDArray[np.int64]:
    """Like ``token_table``, with one word of each text in letters.

    Training on some of these gives the letter pieces, which unknown words fall back to, a meaning.
    """
    vocabulary = tokenizer.get_vocab()
    table = np.zeros_like(token_table(tokenizer, texts, context_length))
    for row, text in zip(table, texts, strict=True):
        tokens = tokenizer.encode(text, add_special_tokens=False).tokens
        long = [i for i, token in enumerate(tokens) if len(token) > 2 and token.isalpha()]
        if long:
            i = long[int(rng.integers(len(long)))]
            word = tokens[i]
            tokens[i : i + 1] = [word[0], *(f"##{letter}" for letter in word[1:])]
        kept = [START, *tokens[: context_length - 2], END]
        row[: len(kept)] = [vocabulary[token] for token in kept]
    return table
