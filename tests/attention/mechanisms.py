"""Builds the mechanism of any conf/model yaml, and calls it as the trunk would."""

import importlib
from pathlib import Path

import torch
import yaml

from protein_performer.attention.protocol import LayerSpec

MODELS = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in MODELS.glob("*.yaml"))
BIDIRECTIONAL_ONLY = {"linformer", "linformer_random"}
ROWS = [
    (name, causal)
    for name in NAMES
    for causal in (False, True)
    if not (causal and name in BIDIRECTIONAL_ONLY)
]

HEADS, DIM = 2, 16
# What a causal layer must be told, since measuring it would look ahead.
CAUSAL_OPTIONS = {"performer_favor_plus_plus": {"spread": 2 * DIM**0.5}}


def build(name, causal, dtype=torch.float32, seed=0):
    text = (MODELS / f"{name}.yaml").read_text().replace("${model.num_features}", "256")
    options = yaml.safe_load(text)["attention"]
    if causal:
        options |= CAUSAL_OPTIONS.get(name, {})
    module, _, target = options.pop("_target_").rpartition(".")
    torch.manual_seed(seed)
    spec = LayerSpec(num_heads=HEADS, head_dim=DIM, causal=causal, seed=seed)
    return getattr(importlib.import_module(module), target)(spec, **options).to(dtype).eval()


def inputs(batch, length, dtype=torch.float32, seed=0, scale=1.0):
    """Three (B, H, L, D) leaves of unit variance, q and k times `scale`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, batch, HEADS, length, DIM, generator=generator, dtype=torch.float64)
    q, k, v = drawn.to(dtype)
    return [x.clone().requires_grad_() for x in (q * scale, k * scale, v)]


def call(mechanism, q, k, v, mask=None):
    shared = getattr(mechanism, "shared_query_key", False)
    return mechanism(q, q if shared else k, v, key_mask=mask)


def distance(a, b):
    """Largest difference, in units of b's largest entry where that is above 1."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1.0)).item()
