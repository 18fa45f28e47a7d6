"""A mechanism in a package of the user's own; CONTRIBUTING.md tells how it is trained."""

import torch
from torch import nn


class MeanOfPast(nn.Module):
    """Each position gets the mean of the values that it may see, whatever queries and keys."""

    def __init__(self, spec, *, gain=1.0):
        super().__init__()
        self.causal = spec.causal
        self.gain = nn.Parameter(torch.tensor(float(gain)))

    def forward(self, q, k, v, *, key_mask):
        mask = v.new_ones(v.shape[0], v.shape[2]) if key_mask is None else key_mask.to(v.dtype)
        weight = mask[:, None, :, None]
        sums, counts = v * weight, weight
        if self.causal:
            sums, counts = sums.cumsum(2), counts.cumsum(2)
        else:
            sums, counts = sums.sum(2, keepdim=True), counts.sum(2, keepdim=True)
        return self.gain * weight * sums / counts.clamp_min(1)
