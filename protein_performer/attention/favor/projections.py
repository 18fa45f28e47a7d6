"""Random directions of the feature maps: Gaussian rows, coupled to lower the estimator's variance.

Shapes: H heads, D head width, M features.
"""

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from protein_performer.errors import UserError


def stream(*numbers: int) -> torch.Generator:
    """A CPU generator that is a pure function of the numbers, such as (seed, layer, redraw count).

    Neighbouring numbers give unrelated streams; the same numbers give the same one on every rank.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def iid(num_features: int, head_dim: int, generator: torch.Generator) -> Tensor:
    """(M, D) float64, independent N(0, I_D) rows."""
    return torch.randn(
        num_features, head_dim, generator=generator, dtype=torch.float64, device="cpu"
    )


def orthogonal(num_features: int, head_dim: int, generator: torch.Generator) -> Tensor:
    """(M, D) float64, N(0, I_D) rows, orthogonal within each block of D.

    Source: Choromanski et al. 2021, arXiv:2009.14794, section 2.4; more than D features come as
    independent blocks (appendix B.2), each row with its own chi(D) norm.
    Differs from the authors' code: `haar` makes the blocks truly uniform.
    """
    directions = _blocks(haar, num_features, head_dim, generator)
    return directions * _chi_norms(num_features, head_dim, generator)


def simplex(num_features: int, head_dim: int, generator: torch.Generator) -> Tensor:
    """(M, D) float64, N(0, I_D) rows whose directions, within each block of D, form a simplex.

    Any two directions of a block have the inner product -1 / (D - 1), the lowest that D can share.
    Source: Reid et al. 2023, arXiv:2301.13856, eq. 7.
    """
    if head_dim < 2:
        raise UserError(f"simplex projection: expected a head width of 2 or more, got {head_dim}")
    vertices = _simplex_vertices(head_dim)
    directions = _blocks(lambda d, g: vertices @ haar(d, g), num_features, head_dim, generator)
    return directions * _chi_norms(num_features, head_dim, generator)


def haar(dim: int, generator: torch.Generator) -> Tensor:
    """(dim, dim) float64, a uniformly random orthogonal matrix.

    The Q of a QR decomposition alone is not uniform: LAPACK fixes its signs, which biases every
    entry. Multiplying by the signs of R's diagonal makes it so (Mezzadri 2007,
    arXiv:math-ph/0609050).
    """
    q, r = torch.linalg.qr(iid(dim, dim, generator))
    return torch.mul(q, r.diagonal().sign())


PROJECTIONS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "iid": iid,
    "orthogonal": orthogonal,
    "simplex": simplex,
}


def fixed_norms(projection: Tensor) -> Tensor:
    """(..., M, D) -> the same directions, each row of norm sqrt(D).

    The regularised softmax kernel SMREG: Choromanski et al. 2021, section 2.4 and theorem 1.
    """
    norms: Tensor = torch.linalg.vector_norm(projection, dim=-1, keepdim=True)
    return projection * (math.sqrt(projection.shape[-1]) / norms)


def _blocks(
    draw: Callable[[int, torch.Generator], Tensor],
    num_features: int,
    head_dim: int,
    generator: torch.Generator,
) -> Tensor:
    num_blocks = -(-num_features // head_dim)
    rows = torch.cat([draw(head_dim, generator) for _ in range(num_blocks)])
    return rows[:num_features]


def _chi_norms(num_features: int, head_dim: int, generator: torch.Generator) -> Tensor:
    gaussian = iid(num_features, head_dim, generator)
    norms: Tensor = torch.linalg.vector_norm(gaussian, dim=-1, keepdim=True)
    return norms


def _simplex_vertices(dim: int) -> Tensor:
    last = torch.ones(dim, dtype=torch.float64, device="cpu")
    last[-1] = 0.0
    vertices = math.sqrt(dim / (dim - 1)) * torch.eye(dim, dtype=torch.float64, device="cpu")
    vertices -= (math.sqrt(dim) + 1) / (dim - 1) ** 1.5 * last
    vertices[-1] = last / math.sqrt(dim - 1)
    return vertices
