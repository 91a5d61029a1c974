"""T5 models: encoder, decoder and embeddings are edited; answers are ranked by likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from talos_engine.errors import MismatchError
from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.models.rank_classifier import RankClassifier, TokenLogits, pack_examples
from talos_engine.models.skeleton import Skeleton, specs_of
from talos_engine.models.spec import TEXTS, Backbone, BaseWeights
from talos_engine.models.structure import t5_structure
from talos_engine.models.t5_architecture import MAX_TOKENS, make_module

_OUTLINE_ANSWERS = 2  # of an example that memory is counted for


class T5Backbone(Backbone):
    """A T5 model holding given weights.

    Args:
        weights: All its parameters, tied ones once, with the architecture that they fit.
        make_tokenizer: Returns the tokenizer; called when texts are first encoded.

    Raises:
        MismatchError: the weights' names, shapes or dtypes are not the architecture's.
        ModelError: the architecture cannot be built.
    """

    kind = TEXTS

    def __init__(self, weights: BaseWeights, make_tokenizer: Callable[[], Any]) -> None:
        self.weights = weights
        architecture: Mapping[str, Any] = weights.info.architecture
        model = make_module(architecture, weights.info.name)
        _fill(model, weights.tensors)
        self.structure = t5_structure(model)
        self._pad: int = architecture["pad_token_id"]
        self._network = _network(model, architecture)
        self._make_tokenizer = make_tokenizer
        self._tokenizer: Any = None

    def classifier(
        self,
        class_names: Sequence[str],  # noqa: ARG002 - every example brings its answers
        templates: Sequence[str],  # noqa: ARG002
        *,
        length_normalized: bool = False,
    ) -> RankClassifier:
        """Rank classifier over the answers that are packed with each example."""
        vocabulary = self._network.shared.num_embeddings
        made = RankClassifier(
            self._network, self._pad, vocabulary, length_normalized=length_normalized
        )
        return made.eval()

    def linearize(self, classifier: nn.Module) -> RankClassifier:
        """The same ranking over the logits of tokens, linearized at θ0.

        Those logits are linear in τ; scores of answers are not, since probabilities are normalized.
        """
        assert isinstance(classifier, RankClassifier)
        network = LinearizedEncoder(self._network, self.weights.tensors)
        vocabulary = self._network.shared.num_embeddings
        made = RankClassifier(
            network, self._pad, vocabulary, length_normalized=classifier.length_normalized
        )
        return made.eval()

    def encode_texts(
        self,
        texts: Sequence[str],
        choices: Sequence[Sequence[str]],
        note_cut: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Packed token ids, int64 of shape (n, 1 + answers, length).

        Texts and answers are cut after 128 tokens; each ends with the end-of-sequence token.

        Args:
            texts: What the model reads.
            choices: The answers of each.
            note_cut: Told how many of the examples are cut.

        Raises:
            MismatchError: the tokenizer is not the model's, or two answers of an example are the
                same tokens, cut as they are.
        """
        if self._tokenizer is None:
            self._tokenizer = self._make_tokenizer()
        known = {answer: number for number, answer in enumerate(dict.fromkeys(_flat(choices)))}
        answers = self._tokenize(list(known))
        questions = self._tokenize(list(texts))
        tokens = [[answers[known[answer]] for answer in each] for each in choices]
        for number, each in enumerate(tokens):
            self._check_different(texts[number], choices[number], each)
        if note_cut is not None:
            long = self._too_long(list(known), answers)
            asked = self._too_long(list(texts), questions)
            note_cut(
                sum(
                    text in asked or not long.isdisjoint(each)
                    for text, each in zip(texts, choices, strict=True)
                )
            )
        return pack_examples(questions, tokens, self._pad)

    def _check_different(
        self, text: str, choices: Sequence[str], tokens: Sequence[Sequence[int]]
    ) -> None:
        """Raise where the model would see two answers as one.

        Raises:
            MismatchError: it would.
        """
        seen: dict[tuple[int, ...], str] = {}
        for choice, each in zip(choices, tokens, strict=True):
            other = seen.setdefault(tuple(each), choice)
            if other is not choice:
                what = f"first {MAX_TOKENS} " if len(each) == MAX_TOKENS else ""
                raise MismatchError(
                    f"the answers {_shortened(other)} and {_shortened(choice)} to "
                    f"{_shortened(text)} have the same {what}tokens: {self.weights.info.name} "
                    "cannot tell them apart",
                    "write answers that differ earlier, or leave the example out",
                )

    def _too_long(self, texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> set[str]:
        """Those of the texts that were cut; ``tokens`` is what was left of each."""
        full = [text for text, each in zip(texts, tokens, strict=True) if len(each) == MAX_TOKENS]
        if not full:
            return set()
        longer = self._tokens(full, MAX_TOKENS + 1)
        return {text for text, each in zip(full, longer, strict=True) if len(each) > MAX_TOKENS}

    def _tokens(self, texts: list[str], limit: int) -> list[list[int]]:
        found = self._tokenizer(texts, truncation=True, max_length=limit, padding=False)
        tokens: list[list[int]] = found["input_ids"]
        return tokens

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        tokens = self._tokens(texts, MAX_TOKENS)
        limit = self._network.shared.num_embeddings
        largest = max((max(each, default=0) for each in tokens), default=0)
        if largest >= limit:
            raise MismatchError(
                f"the tokenizer of {self.weights.info.name} gives token {largest}, the model has "
                f"{limit} embeddings"
            )
        return tokens

    def encoder_state(self) -> dict[str, Tensor]:
        """The model's parameters by name, not copied; tied ones once."""
        return dict(self._network.named_parameters())

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self._network.to(device)


def outline(architecture: Mapping[str, Any], name: str) -> Skeleton:
    """The shape of the T5 model that a recorded configuration describes.

    Raises:
        ModelError: it describes none.
    """
    model = make_module(architecture, name)
    network = _network(model, architecture)
    classifier = RankClassifier(network, architecture["pad_token_id"], architecture["vocab_size"])
    return Skeleton(
        t5_structure(model),
        specs_of(dict(model.named_parameters())),
        classifier,
        (1 + _OUTLINE_ANSWERS, MAX_TOKENS),
        torch.int64,
    )


def parameters_of(architecture: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The parameters that weights of a recorded configuration must be, on the meta device."""
    return dict(make_module(architecture, name).named_parameters())


def _network(model: Any, architecture: Mapping[str, Any]) -> TokenLogits:
    scale = architecture["d_model"] ** -0.5 if architecture["scale_decoder_outputs"] else 1.0
    start, pad = architecture["decoder_start_token_id"], architecture["pad_token_id"]
    return TokenLogits(model, pad, start, scale).eval().requires_grad_(False)


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module on the meta device parameters of its own with these values.

    Raises:
        MismatchError: names, shapes or dtypes are not the module's.
    """
    expected = dict(model.named_parameters())
    for name in sorted(expected.keys() | tensors.keys()):
        here, there = tensors.get(name), expected.get(name)
        if here is None or there is None or (here.shape, here.dtype) != (there.shape, there.dtype):
            raise MismatchError(
                f"weights do not fit the architecture at {name!r}: "
                f"expected {_describe(there)}, found {_describe(here)}"
            )
    made = {
        id(parameter): nn.Parameter(tensors[name].clone(), requires_grad=False)
        for name, parameter in expected.items()
    }
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, made.get(id(parameter), parameter))


def _describe(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _flat(choices: Sequence[Sequence[str]]) -> list[str]:
    return [answer for each in choices for answer in each]
