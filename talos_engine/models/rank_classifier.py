"""Sequence-to-sequence models as classifiers: every answer is scored, the likeliest wins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class RankClassifier(nn.Module):
    """A T5 model whose logits are the log-probabilities of fixed answers (rank classification).

    Source: T0's and (IA)³'s rank classification, as the paper uses it (App. A.1 of
    arXiv:2504.02620); deviation: none. Probabilities over answers are the softmax of these logits.

    Args:
        model: A ``transformers`` ``T5ForConditionalGeneration``; kept under ``model``.
        answers: Token ids, int64 of shape (answers, length), each ending with the end-of-sequence
            token and then padded.
        pad: Id of the padding token.
    """

    answers: Tensor

    def __init__(self, model: nn.Module, answers: Tensor, pad: int) -> None:
        super().__init__()
        self.model: Any = model
        self.pad = pad
        self.register_buffer("answers", answers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Log-probability of each answer, shape (batch, answers).

        Args:
            tokens: Input ids, int64 of shape (batch, length), padded.
        """
        count = len(self.answers)
        mask = tokens != self.pad  # (batch, length)
        encoded = self.model.get_encoder()(input_ids=tokens, attention_mask=mask)
        hidden = encoded.last_hidden_state
        # Row i * answers + a decodes answer a of example i: one example's rows are neighbours.
        repeated = (hidden.repeat_interleave(count, dim=0),)
        targets = self.answers.repeat(len(tokens), 1)  # (batch * answers, answer length)
        start = targets.new_full((len(targets), 1), self.model.config.decoder_start_token_id)
        logits = self.model(
            encoder_outputs=repeated,
            attention_mask=mask.repeat_interleave(count, dim=0),
            decoder_input_ids=torch.cat([start, targets[:, :-1]], dim=1),
            use_cache=False,
        ).logits  # (batch * answers, answer length, vocabulary)
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        log_p = torch.log_softmax(wide, dim=-1).gather(2, targets[..., None])[..., 0]
        log_p = log_p.masked_fill(targets == self.pad, 0.0)
        return log_p.sum(dim=1).view(len(tokens), count)
