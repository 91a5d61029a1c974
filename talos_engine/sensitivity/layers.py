"""How each kind of layer makes per-example gradients of what its calls saw.

One function per kind, all listed in ``TAP_MAKERS``. None of them is trusted: ``coverage`` compares
what they give with plain backward passes on every model.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talos_engine.sensitivity.taps import Forward, Recorder, TapMaker, guarded, tap, tap_calls


def add_linear(
    recorder: Recorder,
    weight: str | None,
    bias: str | None,
    inputs: Tensor,
    gradients: Tensor,
    start: int = 0,
) -> None:
    """Add the squares of a linear map's gradients (``G_i = Σ_t g_it ⊗ a_it``, bias ``Σ_t g_it``).

    Args:
        recorder: Where to.
        weight: Name of the weight, where it is summed.
        bias: Name of the bias, where it is summed.
        inputs: Shape (rows of examples, ..., columns).
        gradients: At the outputs, shape (rows of examples, ..., range of the weight's rows).
        start: First row of the weight and bias.
    """
    grouped = recorder.by_example(gradients, weight, bias)  # (n, positions, rows)
    columns = recorder.by_example(inputs, weight)  # (n, positions, columns)
    if grouped is None or columns is None:
        return
    if weight is not None:
        recorder.sums.add_outer(weight, grouped, columns, start)
    if bias is not None:
        recorder.sums.add_gradients(bias, _sum_positions(grouped), start)


def tap_linear(module: nn.Module, forward: Forward, recorder: Recorder) -> Forward | None:
    """Linear layers."""
    if not isinstance(module, nn.Linear):
        return None
    weight, bias = recorder.name_of(module.weight), recorder.name_of(module.bias)

    def rule(inputs: Tensor, gradients: Tensor) -> None:
        add_linear(recorder, weight, bias, inputs, gradients)

    return tap_calls(forward, guarded(rule, recorder, weight, bias))


def tap_norm(module: nn.Module, forward: Forward, recorder: Recorder) -> Forward | None:
    """Layer and root-mean-square normalization over the last dimension: ``g ⊙ x̂`` and ``g``."""
    weight = recorder.name_of(getattr(module, "weight", None))
    bias = recorder.name_of(getattr(module, "bias", None))
    normalize = _normalization(module)
    if normalize is None:
        return None

    def rule(inputs: Tensor, gradients: Tensor) -> None:
        wide = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
        if weight is not None:
            normal = normalize(inputs.to(wide.dtype))
            grouped = recorder.by_example(wide * normal, weight)
            if grouped is not None:
                recorder.sums.add_gradients(weight, grouped.sum(dim=1))
        if bias is not None:
            grouped = recorder.by_example(wide, bias)
            if grouped is not None:
                recorder.sums.add_gradients(bias, grouped.sum(dim=1))

    return tap_calls(forward, guarded(rule, recorder, weight, bias))


def tap_conv2d(module: nn.Module, forward: Forward, recorder: Recorder) -> Forward | None:
    """Two-dimensional convolutions, as linear maps of the unfolded patches of each group."""
    if not isinstance(module, nn.Conv2d):
        return None
    padding = module.padding
    if module.padding_mode != "zeros" or isinstance(padding, str):
        return None
    conv = module
    weight, bias = recorder.name_of(conv.weight), recorder.name_of(conv.bias)

    def rule(inputs: Tensor, gradients: Tensor) -> None:
        spread = gradients.flatten(2).transpose(1, 2)  # (n, positions, out channels)
        columns = F.unfold(  # (n, in channels * kernel, positions)
            inputs.to(gradients.dtype), conv.kernel_size, conv.dilation, padding, conv.stride
        ).transpose(1, 2)
        share, patch = spread.shape[2] // conv.groups, columns.shape[2] // conv.groups
        for group in range(conv.groups):
            start = group * share
            add_linear(
                recorder,
                weight,
                bias,
                columns[..., group * patch : (group + 1) * patch],
                spread[..., start : start + share],
                start,
            )

    return tap_calls(forward, guarded(rule, recorder, weight, bias))


def tap_attention(module: nn.Module, forward: Forward, recorder: Recorder) -> Forward | None:
    """Attention with fused in-projection, called as open_clip calls it; other calls untapped.

    ``nn.MultiheadAttention`` projects inside a function, where no module call can be seen, so its
    projections and attention are written out here.
    """
    if not isinstance(module, nn.MultiheadAttention) or not module.batch_first:
        return None
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        return None
    layer = module
    width = layer.embed_dim
    weight, bias = recorder.name_of(layer.in_proj_weight), recorder.name_of(layer.in_proj_bias)

    def project(inputs: Tensor, start: int, stop: int) -> Tensor:
        rows_of_bias = None if layer.in_proj_bias is None else layer.in_proj_bias[start:stop]
        outputs = F.linear(inputs, layer.in_proj_weight[start:stop], rows_of_bias)

        def rule(seen: Tensor, gradients: Tensor) -> None:
            add_linear(recorder, weight, bias, seen, gradients, start)

        return tap(outputs, inputs, guarded(rule, recorder, weight, bias))

    def call(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        mask = options.get("attn_mask")
        plain = not rest and options.get("need_weights") is False
        plain = plain and not options.keys() - {"need_weights", "attn_mask"}
        plain = plain and (mask is None or mask.is_floating_point()) and query.ndim == 3
        if not plain:
            return forward(query, key, value, *rest, **options)
        if query is key is value:
            projected = project(query, 0, 3 * width).chunk(3, dim=-1)
        else:
            sources = (query, key, value)
            projected = tuple(
                project(source, part * width, (part + 1) * width)
                for part, source in enumerate(sources)
            )
        q, k, v = (  # each (n, heads, positions, head width)
            part.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for part in projected
        )
        if mask is not None and mask.ndim == 3:
            mask = mask.view(len(query), layer.num_heads, *mask.shape[1:])
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return layer.out_proj(mixed.transpose(1, 2).flatten(2)), None

    return call


TAP_MAKERS: tuple[TapMaker, ...] = (tap_linear, tap_attention, tap_conv2d, tap_norm)
"""Tried in order on every module that holds a summed parameter."""


def _sum_positions(gradients: Tensor) -> Tensor:
    """(n, positions, width) summed over positions, in float32 or wider."""
    return gradients.sum(dim=1, dtype=torch.promote_types(gradients.dtype, torch.float32))


def _normalization(module: nn.Module) -> Any:
    """The function that a normalization layer applies before its weight, or ``None``."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1:
        return None
    if isinstance(module, nn.LayerNorm):
        return lambda inputs: F.layer_norm(inputs, module.normalized_shape, None, None, module.eps)
    # T5's layer has no base class to know it by; torch's own leaves eps to the dtype when None.
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if isinstance(module, nn.RMSNorm) or hasattr(module, "variance_epsilon"):
        return lambda inputs: F.rms_norm(inputs, weight.shape, None, epsilon)
    return None
