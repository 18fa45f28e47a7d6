"""Linear attention by sums of keys times values: this is FAVOR+, in plain PyTorch.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, C positions of a chunk,
N = ceil(L / C) chunks.

Read after `features.py`. No loop over positions and no wait for the host, so it is what runs on a
GPU, in a compiler and in steps; `cpu/` computes the same sums, in an order that suits a processor's
caches. Exponents are in base 2. What is taken out of features cancels, so it has no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from protein_performer.attention.favor.features import FeatureMap

CHUNK = 128
GUARD = 1e-6


class Operands(NamedTuple):
    """What linear attention is given.

    Attributes:
        q, k, v: (B, H, L, D), all float32 or all float64; q and k times the gain of the features.
        features: in base 2 (`FeatureMap.base2`); constants to the gradient.
        key_mask: (B, L) bool or None.
        normalize: divide by the sum of the weights.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    features: FeatureMap
    key_mask: Tensor | None
    normalize: bool


class State(NamedTuple):
    """What causal attention knows of the past: its size does not depend on the length.

    Attributes:
        sums: (B, H, E, M), of the values, then of their normalizer, relative to 2^peak.
        peak: (B, H), log2 of the largest weight of a key so far.
    """

    sums: Tensor
    peak: Tensor


def bidirectional(operands: Operands) -> Tensor:
    """out_i = factor_i sum_j phi(q_i).phi(k_j) v_j.

    Returns: (B, H, L, D), arbitrary but finite at padding.
    """
    features = operands.features
    values = _values(operands)
    u_q, u_k = _project(operands.q, features), _project(operands.k, features)
    weight = _log_weight(operands)
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
    return _outputs(sums, log_scale, operands)


def causal(operands: Operands, state: State | None = None) -> tuple[Tensor, State]:
    """Attention to the keys j <= i, and to those that the state has seen.

    Within a chunk the weights of all pairs are computed, as in exact attention; what came before is
    in the state. Each key has a weight, taken relative to the largest so far: to nothing later.

    Returns: (B, H, L, D), arbitrary but finite at padding, and the state after the last position. A
    row is zero where the product of features underflows for every key, as from a norm of q and k of
    about 100 on it may; `cpu/` restores such rows, which would make a GPU wait for the host.
    """
    q, k, features = operands.q, operands.k, operands.features
    length = q.shape[-2]
    chunk = min(CHUNK, length)
    state = state or first_state(operands)
    phi_q, peak_q = _unit_features(q, features)
    phi_k, peak_k = _unit_features(k, features)
    weight = (peak_k + _log_weight(operands))[..., 0]
    peak = torch.maximum(weight.detach().cummax(-1).values, state.peak[..., None])
    short = -length % chunk
    phi_q, phi_k, values = (
        _chunked(pad(x, (0, 0, 0, short)), chunk) for x in (phi_q, phi_k, _values(operands))
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
    return _outputs(sums, log_scale, operands), State(states[:, :, -1], last[..., -1])


def first_state(operands: Operands) -> State:
    """The state before any key."""
    q, v = operands.q, operands.v
    batch, heads = q.shape[:2]
    sums = q.new_zeros(batch, heads, v.shape[-1] + 1, operands.features.weight.shape[-2])
    return State(sums, q.new_full((batch, heads), torch.finfo(q.dtype).min / 4))


def divisor(normalizer: Tensor, features: FeatureMap) -> Tensor:
    """What a row of sums is divided by: its normalizer, made safe.

    Infinite, so that outputs and gradients are zero, where the normalizer vanishes: in a row
    without tokens, or in one where every term has underflowed. Kernels of either sign may have a
    vanishing normalizer for other rows too; they get the authors' guard, R + 2 GUARD where
    |R| <= GUARD (Choromanski et al. 2021, appendix A.3), and may diverge.
    """
    if features.activation is not None and not features.activation.positive:
        return normalizer + 2 * GUARD * (normalizer.abs() <= GUARD)
    # Nearer to the smallest number, terms that underflow would show, and gradients overflow.
    visible = normalizer >= torch.finfo(normalizer.dtype).tiny ** 0.75
    return torch.where(visible, normalizer, torch.inf)


def _outputs(sums: Tensor, log_scale: Tensor, operands: Operands) -> Tensor:
    """(B, H, L, E) -> (B, H, L, D)."""
    values, normalizer = sums[..., :-1], sums[..., -1:]
    if operands.normalize:
        return values / divisor(normalizer, operands.features)
    return values * log_scale.exp2()


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


def _values(operands: Operands) -> Tensor:
    """(B, H, L, E): values and a one; zeros at padding."""
    v, key_mask = operands.v, operands.key_mask
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


def _log_weight(operands: Operands) -> Tensor:
    """(B, H, L, 1): norm |k|^2, -inf at padding."""
    norm = operands.features.norm
    norm = norm[..., None, None] if isinstance(norm, Tensor) else norm
    weight = operands.k.square().sum(-1, keepdim=True) * norm
    if operands.key_mask is None:
        return weight
    return weight.masked_fill(~operands.key_mask[:, None, :, None], -torch.inf)


def _finite(peak: Tensor) -> Tensor:
    """The maximum over padding alone is -inf, and -inf - (-inf) would be NaN."""
    return peak.clamp_min(torch.finfo(peak.dtype).min / 4)
