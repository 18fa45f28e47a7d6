"""Linear attention over all positions at once, for GPUs and compilers: no loop over positions.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, C positions of a chunk,
N = ceil(L / C) chunks.

The same sums as in `linear_bidirectional` and `linear_causal`, in plain differentiable operations.
Log-features are in base 2. What is taken out of features cancels, so it carries no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from protein_performer.attention.favor.features import FeatureMap
from protein_performer.attention.favor.normalizer import divisor

CHUNK = 128


class State(NamedTuple):
    """What causal attention knows of the past: its size does not depend on the length.

    Attributes:
        sums: (B, H, E, M), of the values, then of their normaliser, relative to 2^peak.
        peak: (B, H), log2 of the largest weight of a key so far.
    """

    sums: Tensor
    peak: Tensor


def bidirectional(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    features: FeatureMap,
    key_mask: Tensor | None,
    renormalize: bool,
) -> Tensor:
    """out_i = factor_i sum_j phi(q_i).phi(k_j) v_j.

    Args:
        q: (B, H, L, D) queries, float32 or float64.
        k: (B, H, L, D) keys, as q.
        v: (B, H, L, D) values, as q.
        features: in base 2 (`FeatureMap.base2`); constants.
        key_mask: (B, L) bool or None.
        renormalize: divide by the sum of the weights.

    Returns: (B, H, L, D), arbitrary but finite at padding.
    """
    values = _values(v, key_mask)
    u_q, u_k = _project(q, features), _project(k, features)
    weight = _log_weight(k, features, key_mask)
    if features.activation is None:
        log_k = u_k + weight
        key_peak = _finite(log_k.detach().amax(-2, keepdim=True))  # (B, H, 1, M): of each feature
        phi_k = torch.exp2(log_k - key_peak)
        log_q = u_q + key_peak
        log_scale = log_q.detach().amax(-1, keepdim=True)
        phi_q = torch.exp2(log_q - log_scale)
    else:
        log_scale = _finite(weight.detach().amax(-2, keepdim=True))
        values = values * torch.exp2(weight - log_scale)
        phi_k = features.activation.value(u_k) + features.epsilon
        phi_q = features.activation.value(u_q) + features.epsilon
    sums = phi_q @ (phi_k.mT @ values)
    return _outputs(sums, log_scale, features, renormalize)


def causal(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    features: FeatureMap,
    key_mask: Tensor | None,
    renormalize: bool,
    state: State | None = None,
) -> tuple[Tensor, State]:
    """Attention to the keys j <= i, and to those that the state has seen.

    Args and the first of the results: as in `bidirectional`.

    Returns: (B, H, L, D), and the state after the last position. A row is zero where the product
    of features underflows for every key, as from a norm of q and k of about 100 on it may;
    `linear_causal` restores such rows, which would make a GPU wait for the host.
    """
    length = q.shape[-2]
    chunk = min(CHUNK, length)
    state = state or first_state(q, v, features)
    phi_q, peak_q = _unit_features(q, features)
    phi_k, peak_k = _unit_features(k, features)
    weight = (peak_k + _log_weight(k, features, key_mask))[..., 0]
    peak = torch.maximum(weight.detach().cummax(-1).values, state.peak[..., None])
    short = -length % chunk
    phi_q, phi_k, values = (
        _chunked(pad(x, (0, 0, 0, short)), chunk) for x in (phi_q, phi_k, _values(v, key_mask))
    )
    weight = _chunked(pad(weight, (0, short), value=-torch.inf), chunk)
    peak = _chunked(pad(peak, (0, short), mode="replicate"), chunk)  # (B, H, N, C)

    earlier = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    pairs = (weight[..., None, :] - peak[..., :, None]).masked_fill(~earlier, -torch.inf).exp2()
    inside = (phi_q @ phi_k.mT * pairs) @ values
    last = torch.cat([state.peak[..., None], peak[..., -1]], dim=-1)  # (B, H, N + 1)
    added = (values * torch.exp2(weight - last[..., 1:, None])[..., None]).mT @ phi_k
    states = _scan(torch.cat([state.sums[:, :, None], added], dim=2), last)
    since = torch.exp2(last[..., :-1, None] - peak)[..., None]
    sums = (inside + phi_q @ states[:, :, :-1].mT * since).flatten(2, 3)[:, :, :length]
    log_scale = peak.flatten(2, 3)[:, :, :length, None] + peak_q
    out = _outputs(sums, log_scale, features, renormalize)
    return out, State(states[:, :, -1], last[..., -1])


def first_state(q: Tensor, v: Tensor, features: FeatureMap) -> State:
    """The state before any key."""
    batch, heads = q.shape[:2]
    sums = q.new_zeros(batch, heads, v.shape[-1] + 1, features.weight.shape[-2])
    return State(sums, q.new_full((batch, heads), torch.finfo(q.dtype).min / 4))


def _outputs(sums: Tensor, log_scale: Tensor, features: FeatureMap, renormalize: bool) -> Tensor:
    """(B, H, L, E) -> (B, H, L, D)."""
    values, normalizer = sums[..., :-1], sums[..., -1:]
    return values / divisor(normalizer, features) if renormalize else values * log_scale.exp2()


def _scan(states: Tensor, last: Tensor) -> Tensor:
    """Running sums of (B, H, N, E, M), each relative to 2^last (B, H, N), by doubling."""
    decay = torch.exp2(last[..., :-1] - last[..., 1:])
    decay = pad(decay, (1, 0))[..., None, None]  # from the chunk before; nothing precedes the first
    shift = 1
    while shift < states.shape[2]:
        states = states + decay * _later(states, shift)
        decay = decay * _later(decay, shift)
        shift *= 2
    return states


def _chunked(x: Tensor, chunk: int) -> Tensor:
    return x.view(*x.shape[:2], -1, chunk, *x.shape[3:])


def _later(x: Tensor, shift: int) -> Tensor:
    """(B, H, N, E, M) moved `shift` chunks on, zeros coming in."""
    return pad(x[:, :, :-shift], (0, 0, 0, 0, shift, 0))


def _values(v: Tensor, key_mask: Tensor | None) -> Tensor:
    """(B, H, L, E): values and a one; zeros at padding."""
    values = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    return values if key_mask is None else values.masked_fill(~key_mask[:, None, :, None], 0.0)


def _project(x: Tensor, features: FeatureMap) -> Tensor:
    u = x @ features.weight.mT
    return u if features.offset is None else u + features.offset[..., None, :]


def _unit_features(x: Tensor, features: FeatureMap) -> tuple[Tensor, Tensor]:
    """Features (B, H, L, M) and the exponent (B, H, L, 1) taken out of each row."""
    u = _project(x, features)
    if features.activation is not None:
        return features.activation.value(u) + features.epsilon, u.new_zeros(*u.shape[:-1], 1)
    peak = u.detach().amax(-1, keepdim=True)
    return torch.exp2(u - peak), peak


def _log_weight(k: Tensor, features: FeatureMap, key_mask: Tensor | None) -> Tensor:
    """(B, H, L, 1): norm |k|^2, -inf at padding."""
    norm = features.norm[..., None, None] if isinstance(features.norm, Tensor) else features.norm
    weight = k.square().sum(-1, keepdim=True) * norm
    if key_mask is None:
        return weight
    return weight.masked_fill(~key_mask[:, None, :, None], -torch.inf)


def _finite(peak: Tensor) -> Tensor:
    """The maximum over padding alone is -inf, and -inf - (-inf) would be NaN."""
    return peak.clamp_min(torch.finfo(peak.dtype).min / 4)
