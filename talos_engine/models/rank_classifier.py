"""Sequence-to-sequence models as classifiers: every answer is scored, the likeliest wins.

An example with its answers is one int64 tensor: row 0 holds the tokens of what the model reads, the
other rows those of one answer each, all padded at the end. An answer that an example does not have
is a row of padding; its score is −∞.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_TOKENS_AT_ONCE = 2**13  # of questions, in evaluation; bounds the memory, not the result
_LOGITS_AT_ONCE = 2**26


def pack_examples(
    questions: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]], pad: int
) -> Tensor:
    """Token ids of examples and their answers as one tensor.

    Args:
        questions: Tokens of each example.
        choices: Tokens of each example's answers; their number may vary.
        pad: Id of the padding token.

    Returns:
        int64, shape (n, 1 + most answers, longest).
    """
    rows = 1 + max(len(each) for each in choices)
    longest = max(len(tokens) for each in (questions, *choices) for tokens in each)
    packed = torch.full((len(questions), rows, longest), pad, dtype=torch.int64)
    for example, (question, answers) in enumerate(zip(questions, choices, strict=True)):
        for row, tokens in enumerate((question, *answers)):
            packed[example, row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    return packed


class TokenLogits(nn.Module):
    """The network of a T5 model: logits of every answer's tokens, given those before.

    An example is encoded once. Its answers are decoded side by side as one sequence in which no
    answer sees another: relative positions make that the same as decoding each on its own, and the
    keys and values of cross-attention are made once per example.

    Args:
        model: A ``transformers`` ``T5ForConditionalGeneration``. Its parts are shared, under the
            names that they have there; tied embeddings are one parameter.
        pad: Id of the padding token.
        start: Id of the token that decoding starts with.
        scale: What the decoder's outputs are multiplied with before the last projection.
    """

    def __init__(self, model: Any, pad: int, start: int, scale: float) -> None:
        super().__init__()
        self.shared: Any = model.shared
        self.encoder: Any = model.encoder
        self.decoder: Any = model.decoder
        self.pad, self.start, self.scale = pad, start, scale
        if model.lm_head.weight is not model.shared.weight:
            self.lm_head: Any = model.lm_head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (answer tokens, vocabulary).

        Args:
            inputs: Packed examples, int64 of shape (n, 1 + answers, length). Rows of the result
                are the tokens of all answers that are no padding, in this order; all tokens where
                values cannot be looked at, as on the meta device and under ``vmap``.
        """
        questions, choices = _trim(inputs, self.pad)
        # Masks as they are added: of others the library looks at the values.
        padding = questions == self.pad  # (n, question length)
        seen = torch.zeros_like(padding, dtype=self.shared.weight.dtype)
        seen = seen.masked_fill(padding, torch.finfo(seen.dtype).min)[:, None, None, :]
        hidden = self.encoder(input_ids=questions, attention_mask=seen).last_hidden_state
        start = torch.full_like(choices[..., :1], self.start)
        given = torch.cat([start, choices[..., :-1]], dim=-1).flatten(1)  # (n, answers * length)
        decoded = self.decoder(
            input_ids=given,
            attention_mask=_side_by_side(choices, seen.dtype),
            encoder_hidden_states=hidden,
            encoder_attention_mask=seen,
            use_cache=False,
        ).last_hidden_state  # (n, answers * length, width)
        rows = decoded.flatten(0, 1)
        if _is_concrete(inputs):
            rows = rows[(choices != self.pad).flatten()]
        rows = rows * self.scale
        tied = not hasattr(self, "lm_head")
        logits: Tensor = (
            nn.functional.linear(rows, self.shared.weight) if tied else (self.lm_head(rows))
        )
        return logits


class RankClassifier(nn.Module):
    """Log-probabilities of each example's answers as logits (rank classification).

    Source: T0's and (IA)³'s rank classification, as the paper uses it (App. A.1 of
    arXiv:2504.02620); deviation: none. Probabilities over answers are the softmax of these logits.

    Args:
        network: Gives the logits of tokens, as ``TokenLogits`` does. Its parameters are this
            module's, under the names that they have there.
        pad: Id of the padding token.
        vocabulary: Number of logits per token; bounds how much is scored at once.
        length_normalized: Divide an answer's log-probability by its number of tokens.
    """

    def __init__(
        self, network: nn.Module, pad: int, vocabulary: int, *, length_normalized: bool = False
    ) -> None:
        super().__init__()
        self._network = (network,)  # no submodule: that would prefix the names of parameters
        for name, part in network.named_children():
            self.add_module(name, part)
        self.pad = pad
        self._vocabulary = vocabulary
        self.length_normalized = length_normalized

    def forward(self, inputs: Tensor) -> Tensor:
        """Log-probability of each answer, shape (n, answers); −∞ where there is no answer.

        Args:
            inputs: Packed examples, int64 of shape (n, 1 + answers, length).
        """
        if torch.is_grad_enabled() or not _is_concrete(inputs):
            return self._score(inputs)
        pieces, places = [], []
        for chosen in self._chunks(inputs):
            pieces.append(self._score(inputs[chosen]))
            places.append(chosen)
        return torch.cat(pieces)[torch.cat(places).argsort()]

    def _score(self, inputs: Tensor) -> Tensor:
        logits = self._network[0](inputs)
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        log_p = torch.log_softmax(wide, dim=-1)
        _, choices = _trim(inputs, self.pad)  # (n, answers, length)
        real = choices != self.pad
        if _is_concrete(inputs):
            told = log_p.gather(1, choices[real][:, None])[:, 0]
            spread = told.new_zeros(choices.shape).index_put(torch.where(real), told)
        else:
            told = log_p.gather(1, choices.flatten()[:, None])[:, 0].view(choices.shape)
            spread = torch.where(real, told, 0.0)
        scores = spread.sum(dim=-1)  # (n, answers)
        counts = real.sum(dim=-1)
        if self.length_normalized:
            scores = scores / counts.clamp(min=1)
        return scores.masked_fill(counts == 0, -torch.inf)

    def _chunks(self, inputs: Tensor) -> Iterator[Tensor]:
        """Positions of examples of similar length, a bounded number of tokens at a time."""
        lengths = (inputs != self.pad).sum(dim=-1)  # (n, 1 + answers)
        longest_answer = lengths[:, 1:].amax(dim=1)
        order = (lengths[:, 0] * (inputs.shape[2] + 1) + longest_answer).argsort(stable=True)
        begin, widest, answer = 0, 1, 1
        questions, answers = lengths[order, 0].tolist(), longest_answer[order].tolist()
        for place, (question, longest) in enumerate(zip(questions, answers, strict=True)):
            widest, answer = max(widest, question), max(answer, longest)
            count = place + 1 - begin
            decoded = count * (inputs.shape[1] - 1) * answer
            full = count * widest > _TOKENS_AT_ONCE or decoded * self._vocabulary > _LOGITS_AT_ONCE
            if full and count > 1:
                yield order[begin:place]
                begin, widest, answer = place, question, longest
        yield order[begin:]


def _is_concrete(inputs: Tensor) -> bool:
    """Whether the values can be looked at: not on the meta device, nor under ``vmap``."""
    return not (inputs.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(inputs))


def _trim(inputs: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Questions (n, length) and answers (n, answers, length), without common padding."""
    questions, choices = inputs[:, 0], inputs[:, 1:]
    if not _is_concrete(inputs):
        return questions, choices
    asked = int((questions != pad).sum(dim=-1).max())
    answered = int((choices != pad).sum(dim=-1).max())
    return questions[:, : max(1, asked)], choices[..., : max(1, answered)]


def _side_by_side(choices: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores so that a token sees its own answer's tokens up to itself.

    Shape (1, 1, answers * length, answers * length).
    """
    count, length = choices.shape[1:]
    position = torch.arange(count * length, device=choices.device)
    same = (position[:, None] // length) == (position[None, :] // length)
    visible = same & (position[:, None] >= position[None, :])
    hidden = torch.zeros(visible.shape, dtype=dtype, device=choices.device)
    return hidden.masked_fill(~visible, torch.finfo(dtype).min)[None, None]
