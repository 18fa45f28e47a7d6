"""FAVOR+: softmax and other kernels' attention, in time and memory linear in the length.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from protein_performer.attention.favor import cpu, linear
from protein_performer.attention.favor.features import FEATURE_MAPS, Pairs
from protein_performer.attention.favor.linear import Operands
from protein_performer.attention.favor.options import FavorOptions
from protein_performer.attention.favor.precision import precision_of
from protein_performer.attention.favor.projections import PROJECTIONS, fixed_norms, stream
from protein_performer.attention.favor.scan import State
from protein_performer.attention.mechanism import Mechanism, check_shapes
from protein_performer.attention.padding import zero_padding
from protein_performer.attention.protocol import LayerSpec, refuse_bidirectional


class Favor(Mechanism):
    """out_i = sum_j phi(q_i).phi(k_j) v_j / sum_j phi(q_i).phi(k_j) over the keys j that i may see.

    Source: Choromanski et al. 2021, arXiv:2009.14794. Differs from the authors' code:

    - padding is in no sum and no maximum, and no later key is in any (theirs sees both);
    - exponential features have no epsilon: the largest features are taken out of each sum instead,
      so the result is the formula's at any scale of q and k. That is not to be near exact softmax:
      where few features decide (q, k of standard deviation 1, D = 64, M = 256, L = 1024), the error
      was 4.7 times the exact output's norm, beside 2.8 and 0.8 with the authors' epsilons of 1e-6
      and 1e-4, which draw attention to the uniform one (0.8); at 0.5 it was 0.46, 0.46, 0.40, 0.25;
    - features are redrawn by `redraw_` only, never by a call, so evaluation is deterministic.

    Features, sums and normalizers are float32 (float64 for float64 inputs). Under autocast to
    bfloat16 or with bfloat16 inputs, products are of bfloat16 operands, on a GPU and on a CPU with
    bfloat16 tiles: `precision.py` says what is rounded and where it gains. In float16, and on other
    CPUs, all is computed in float32. Outputs have the dtype of v. Gradients cannot be
    differentiated again.

    Args:
        spec: where the layer stands.
        feature_map: a name in `features.FEATURE_MAPS`, or `favor++`.
        num_features: M, rows of the projection; null together with `projection`.
        projection: `orthogonal`, `iid` or `simplex`; null applies the map to the head itself, as
            the authors' ReLU code and the Linear Transformer do.
        row_norms: of the projection, `chi`, as Gaussian rows have, or `sqrt_d`: SMREG.
        per_head: a projection of its own for each head, else one for the layer, as the authors do.
        normalize: divide by the sum of the weights.
        epsilon: added to each feature of an elementwise map, or to each exponential feature as a
            share of its query's or key's largest (`FeatureMap.floored`); null takes the map's own,
            which of exponential maps is 0.
        spread: for `favor++`, the mean |q + k|^2 / sqrt(D) to be optimal at; null measures it on
            each sequence, which a causal layer cannot do without seeing the future.
        saderf: balance q and k in each dimension first (softmax kernels, bidirectional only).

    Raises: UserError for what cannot be honoured.
    """

    projection: Tensor  # ([H,] M, D) float32
    redraw_count: Tensor  # () int64

    def __init__(
        self,
        spec: LayerSpec,
        *,
        feature_map: str = "relu",
        num_features: int | None = 256,
        projection: str | None = "orthogonal",
        row_norms: Literal["chi", "sqrt_d"] = "chi",
        per_head: bool = False,
        normalize: bool = True,
        epsilon: float | None = None,
        spread: float | None = None,
        saderf: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.options = FavorOptions(
            feature_map=feature_map,
            num_features=num_features,
            projection=projection,
            row_norms=row_norms,
            per_head=per_head,
            normalize=normalize,
            epsilon=epsilon,
            spread=spread,
            saderf=saderf,
        )
        self.options.check(spec)
        rows = spec.head_dim if num_features is None else num_features
        heads = (spec.num_heads,) if per_head else ()
        self.register_buffer("projection", torch.empty(*heads, rows, spec.head_dim))
        self.register_buffer("redraw_count", torch.zeros((), dtype=torch.int64))
        self.redraw_(0)

    @torch.no_grad()
    def redraw_(self, count: int) -> None:
        """Draw the features again, as a pure function of (seed, layer, count).

        Ranks agree and a resumed run goes on as it would have; the count is in the state dict.
        """
        self.redraw_count.fill_(count)
        rows, dim = self.projection.shape[-2:]
        if self.options.projection is None:
            self.projection.copy_(torch.eye(dim, device="cpu"))
            return
        draw = PROJECTIONS[self.options.projection]
        generator = stream(self.spec.seed, self.spec.layer, count)
        drawings = self.projection.shape[:-2].numel()
        drawn = torch.stack([draw(rows, dim, generator) for _ in range(drawings)])
        if self.options.row_norms == "sqrt_d":
            drawn = fixed_norms(drawn)
        self.projection.copy_(drawn.view(self.projection.shape))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`."""
        operands = self._operands(q, k, v, key_mask)
        with torch.autocast(q.device.type, enabled=False):
            if _suits_blocks(operands.q):
                out = cpu.attend(operands, causal=self.spec.causal)
            elif torch.is_grad_enabled():
                out = checkpoint(
                    self._at_once, operands, use_reentrant=False, preserve_rng_state=False
                )
            else:
                out = self._at_once(operands)
            return _unnormalized(out, operands)

    def _at_once(self, operands: Operands) -> Tensor:
        return linear.causal(operands)[0] if self.spec.causal else linear.bidirectional(operands)

    def _operands(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Operands:
        """Inputs in the dtype of the features, and the features of these queries and keys."""
        exact_projections = self.options.feature_map != "relu"
        precision = precision_of(q, k, v, exact_projections=exact_projections)
        if not precision.rounds:
            q, k, v = (x.to(precision.exact) for x in (q, k, v))
        pairs = Pairs(q, k, key_mask, self.options.spread)
        if self.options.saderf:
            pairs = pairs.balanced()
        # A copy: the gradient reads it again, perhaps after the next draw.
        w = self.projection.to(precision.exact, copy=True)
        features = FEATURE_MAPS[self.options.feature_map](w, pairs)
        if self.options.epsilon is not None:
            features = replace(features, epsilon=self.options.epsilon)
        query, key = features.gained(pairs.q), features.gained(pairs.k)
        return Operands(
            query, key, v, features.base2(), key_mask, self.options.normalize, precision
        )

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """O(M D) numbers a head, of float32 or float64; see `protocol.Steps`."""
        refuse_bidirectional(self.spec)
        dtype = torch.promote_types(dtype or self.projection.dtype, torch.float32)
        shape = (batch_size, self.spec.num_heads, 0, self.spec.head_dim)
        like = self.projection.new_empty(shape, device=device, dtype=dtype)
        return linear.first_state(self._operands(like, like, like, None))

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: State, *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Go on by T positions in time O(T M D); see `protocol.Steps`."""
        refuse_bidirectional(self.spec)
        check_shapes(q, k, v, key_mask)
        operands = self._operands(q, k, v, key_mask)
        with torch.autocast(q.device.type, enabled=False):
            out, state = linear.causal(operands, state)
            out = _unnormalized(out, operands)
        return zero_padding(out, key_mask).to(v.dtype), state

    @torch.no_grad()
    def attention_matrix(self, q: Tensor, k: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """The weights that a layer never forms: (B, H, L, L), quadratic in L, so for short ones.

        Row i is the output with one-hot values (Choromanski et al. 2021, appendix C.4): it sums to
        one when renormalised, and is zero at padding.
        """
        batch, heads, length, _ = q.shape
        one_hot = torch.eye(length, dtype=q.dtype, device=q.device)
        values = one_hot.expand(batch, heads, length, length)
        return self.forward(q, k, values, key_mask=key_mask)

    def extra_repr(self) -> str:
        """The options, for print(model)."""
        options, shape = self.options, tuple(self.projection.shape)
        return f"{options.feature_map}, {options.projection} {shape}, causal={self.spec.causal}"


def _suits_blocks(x: Tensor) -> bool:
    """Whether to work block after block: a compiler or a tracer would unroll such loops."""
    plain = type(x) in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()
    return plain and x.device.type == "cpu"


def _unnormalized(out: Tensor, operands: Operands) -> Tensor:
    """The factors of a row that cancel when it is divided by its normalizer."""
    if operands.normalize:
        return out
    features = operands.features
    norm, scale = (
        x[..., None] if isinstance(x, Tensor) else x for x in (features.norm, features.scale)
    )
    squares = operands.q.to(operands.precision.exact).square().sum(-1)
    return out * (torch.exp2(squares * norm) * scale)[..., None]
