"""Linear attention over all positions at once, for GPUs and compilers: no loop over positions.

Shapes: B batch, H heads, L positions, D head width, M features, C positions of a chunk,
N = ceil(L / C) chunks.

The sums, and the stabilisers that keep them exact, are explained in `favor.py`; log-features are
in base 2. Stabilisers cancel in the result, so they carry no gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from protein_performer.attention.features import FeatureMap

CHUNK = 128


def bidirectional(
    q: Tensor, k: Tensor, v: Tensor, features: FeatureMap, key_mask: Tensor | None
) -> Tensor:
    """Sums over all keys.

    Args:
        q, k: (B, H, L, D) of one dtype, float32 or float64.
        v: (B, H, L, E), values with whatever else is to be summed, such as a column of ones.
        features: in base 2 (`FeatureMap.base2`).
        key_mask: (B, L) bool; v is zero at padding already.

    Returns:
        sums: (B, H, L, E) of the keys, sum_j kernel(i, j) v_j 2^-scale_i without the query's norm.
        scale: (B, H, L), the exponent taken out of row i.
    """
    log_k, log_q = _project(k, features), _project(q, features)
    weight = _key_log_weight(k, features, key_mask)
    if features.activation is not None:
        peak = _finite(weight.detach().amax(-1, keepdim=True))
        phi_k = features.activation.value(log_k) + features.epsilon
        phi_q = features.activation.value(log_q) + features.epsilon
        state = phi_k.mT @ (v * torch.exp2(weight - peak)[..., None])
        return phi_q @ state, peak.expand(q.shape[:-1])
    log_k = log_k + weight[..., None]
    peak_m = _finite(log_k.detach().amax(-2, keepdim=True))  # (B, H, 1, M)
    state = torch.exp2(log_k - peak_m).mT @ v
    log_q = log_q + peak_m
    scale = log_q.detach().amax(-1, keepdim=True)
    return torch.exp2(log_q - scale) @ state, scale[..., 0]


def causal(
    q: Tensor, k: Tensor, v: Tensor, features: FeatureMap, key_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums over the keys j <= i; arguments and results as in `bidirectional`."""
    length = q.shape[-2]
    phi_q, log_q = _unit_features(q, features)
    phi_k, log_k = _unit_features(k, features)
    log_k = log_k + _key_log_weight(k, features, key_mask)
    peak = _finite(log_k.detach().cummax(-1).values)  # has seen nothing later than its position
    short = -length % CHUNK
    phi_q, phi_k, v = (_chunks(F.pad(x, (0, 0, 0, short))) for x in (phi_q, phi_k, v))
    log_k = _chunks(F.pad(log_k, (0, short), value=-torch.inf)[..., None])[..., 0]
    peak = _chunks(F.pad(peak, (0, short), mode="replicate")[..., None])[..., 0]  # (B, H, N, C)

    earlier = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    factor = (log_k[..., None, :] - peak[..., :, None]).masked_fill(~earlier, -torch.inf).exp2()
    inside = ((phi_q @ phi_k.mT) * factor) @ v
    last = peak[..., -1:]
    state = _exclusive_scan(phi_k.mT @ (v * torch.exp2(log_k - last)[..., None]), last)
    before = F.pad(last[..., :-1, :], (0, 0, 1, 0), value=torch.finfo(q.dtype).min / 4)
    across = (phi_q @ state) * torch.exp2(before - peak)[..., None]
    sums = (inside + across).flatten(2, 3)[..., :length, :]
    return sums, peak.flatten(2, 3)[..., :length] + log_q.detach()


def _exclusive_scan(state: Tensor, last: Tensor) -> Tensor:
    """Sums of the states of all earlier chunks, by doubling: log2(N) steps.

    Args:
        state: (B, H, N, M, E), each chunk's own, relative to 2^last of that chunk.
        last: (B, H, N, 1), non-decreasing.

    Returns: (B, H, N, M, E), relative to 2^last of the chunk before.
    """
    num_chunks = state.shape[2]
    decay = torch.exp2(last[..., :-1, :] - last[..., 1:, :])
    decay = F.pad(decay, (0, 0, 1, 0))[..., None]  # (B, H, N, 1, 1), from the chunk before
    shift = 1
    while shift < num_chunks:
        state = state + decay * _later(state, shift)
        decay = decay * _later(decay, shift)
        shift *= 2
    return _later(state, 1)


def _later(x: Tensor, shift: int) -> Tensor:
    """(B, H, N, M, E) moved `shift` chunks later, zeros coming in."""
    return F.pad(x[:, :, :-shift], (0, 0, 0, 0, shift, 0))


def _chunks(x: Tensor) -> Tensor:
    return x.unflatten(2, (-1, CHUNK))


def _project(x: Tensor, features: FeatureMap) -> Tensor:
    u = x @ features.weight.mT
    return u if features.offset is None else u + features.offset[..., None, :]


def _unit_features(x: Tensor, features: FeatureMap) -> tuple[Tensor, Tensor]:
    """Features (B, H, L, M) and the exponent (B, H, L) taken out of each row."""
    u = _project(x, features)
    if features.activation is not None:
        return features.activation.value(u) + features.epsilon, u.new_zeros(u.shape[:-1])
    peak = u.detach().amax(-1)
    return torch.exp2(u - peak[..., None]), peak


def _key_log_weight(k: Tensor, features: FeatureMap, key_mask: Tensor | None) -> Tensor:
    """(B, H, L): log2 of the factor of each key, -inf at padding."""
    norm = features.norm[..., None] if isinstance(features.norm, Tensor) else features.norm
    weight = k.square().sum(-1) * norm
    return weight if key_mask is None else weight.masked_fill(~key_mask[:, None], -torch.inf)


def _finite(peak: Tensor) -> Tensor:
    """A maximum over padding alone is -inf; -inf - (-inf) would be NaN."""
    return peak.clamp_min(torch.finfo(peak.dtype).min / 4)
