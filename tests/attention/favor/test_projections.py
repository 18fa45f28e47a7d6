import math

import pytest
import torch

from protein_performer.attention.favor.projections import (
    PROJECTIONS,
    fixed_norms,
    haar,
    orthogonal,
    simplex,
    stream,
)
from protein_performer.errors import UserError

DIM = 6


@pytest.mark.parametrize("name", PROJECTIONS)
def test_rows_are_gaussian_each(name):
    """First, second and fourth moments of N(0, I_D), in every place of a block."""
    draws = 4000
    generator = stream(1)
    w = torch.stack([PROJECTIONS[name](2 * DIM - 1, DIM, generator) for _ in range(draws)])
    assert w.shape == (draws, 2 * DIM - 1, DIM)
    assert w.dtype == torch.float64
    error = 5 / math.sqrt(draws)  # five standard errors: 77 x 3 moments are looked at
    assert w.mean(0).abs().max() < error
    assert (w.square().mean(0) - 1).abs().max() < error * math.sqrt(2)
    assert (w.pow(4).mean(0) - 3).abs().max() < error * math.sqrt(96)
    assert (w.square().sum(-1).var(0) - 2 * DIM).abs().max() < error * 2 * DIM * math.sqrt(2 + 2)


def test_haar_is_not_biased_as_plain_qr_is():
    draws = 4000
    generator = stream(2)
    q = torch.stack([haar(DIM, generator) for _ in range(draws)])
    assert torch.allclose(q @ q.mT, torch.eye(DIM, dtype=q.dtype), atol=1e-12)
    error = 5 / math.sqrt(DIM * draws)
    assert q.mean(0).abs().max() < error
    plain = torch.linalg.qr(torch.randn(draws, DIM, DIM, generator=generator)).Q
    assert plain.mean(0).abs().max() > 3 * error  # what the signs of R are for


def test_orthogonal_rows_are_orthogonal_in_each_block():
    w = orthogonal(2 * DIM + 2, DIM, stream(3))
    blocks = [w[:DIM], w[DIM : 2 * DIM], w[2 * DIM :]]
    for block in blocks:
        gram = block @ block.T
        assert (gram - gram.diag().diag()).abs().max() < 1e-12
    assert (blocks[0] @ blocks[1].T).abs().max() > 0.1  # blocks are independent


def test_simplex_directions_share_the_lowest_inner_product():
    w = simplex(2 * DIM, DIM, stream(4))
    directions = w / w.norm(dim=-1, keepdim=True)
    expected = torch.full((DIM, DIM), -1 / (DIM - 1), dtype=torch.float64).fill_diagonal_(1.0)
    for block in directions.split(DIM):
        assert torch.allclose(block @ block.T, expected, atol=1e-12)
    with pytest.raises(UserError, match="head width of 2"):
        simplex(4, 1, stream(4))


def test_fixed_norms_keep_directions():
    w = orthogonal(9, DIM, stream(5))
    fixed = fixed_norms(w)
    assert torch.allclose(fixed.square().sum(-1), torch.full((9,), float(DIM), dtype=w.dtype))
    cosines = torch.cosine_similarity(w, fixed)
    assert torch.allclose(cosines, torch.ones_like(cosines))


def test_streams_are_functions_of_their_numbers():
    first, again, other = (
        torch.randn(4, generator=stream(*numbers)) for numbers in ((1, 2, 3), (1, 2, 3), (1, 3, 2))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
