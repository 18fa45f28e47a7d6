import pytest
import torch
from attention.agreement import DTYPES, SCALES, check, gradients_are_right
from attention.mechanisms import call
from oracles.mechanisms import reformer_attention

from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.reformer import chunked as chunks
from protein_performer.attention.reformer.reformer import Reformer, hash_columns
from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError


def rotations_of(mechanism, mask, columns):
    """For each row the rotations of its number of tokens, as the oracle takes them."""
    rounds = mechanism.num_rounds
    return [
        [
            mechanism.rotations[factor, :, :rounds, :width].double()
            for factor, width in enumerate(columns(int(row.sum())))
            if width
        ]
        for row in mask
    ]


def by_the_rule(chunk):
    return lambda tokens: (max(1, tokens // chunk), 0)  # 2 L / chunk buckets, of either sign


CASES = {  # chunk, rounds, buckets, columns by number of tokens
    "rule": (4, 3, None, by_the_rule(4)),
    "chunks of one": (1, 2, None, by_the_rule(1)),
    "one chunk": (64, 2, None, by_the_rule(64)),
    "few buckets": (3, 2, 8, lambda tokens: (4, 0)),
    "two hashes": (3, 2, 192, lambda tokens: (6, 8)),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_formula(causal, dtype, scale, case):
    chunk, rounds, buckets, columns = CASES[case]
    spec = LayerSpec(2, 8, causal)
    mechanism = Reformer(spec, chunk=chunk, num_rounds=rounds, num_buckets=buckets).to(dtype)

    def oracle(q, k, v, mask):
        rotations = rotations_of(mechanism, mask, columns)
        # Queries are the keys: their gradient has both parts.
        return reformer_attention(q, v, mask, causal, chunk, rotations)

    check(mechanism, oracle, dtype=dtype, scale=scale)


@pytest.mark.parametrize("causal", [False, True])
def test_both_schedules_are_one_algorithm(causal, monkeypatch):
    mechanism = Reformer(LayerSpec(2, 8, causal), chunk=4).double()
    leaves = [torch.randn(2, 2, 50, 8, dtype=torch.float64, requires_grad=True) for _ in "qv"]

    def run():
        out = mechanism(leaves[0], *leaves[:1], leaves[1], key_mask=None)
        return out, *torch.autograd.grad(out.square().sum(), leaves)

    in_one_step = run()
    monkeypatch.setattr(chunks, "_STEP", 100)
    monkeypatch.setattr(chunks, "_GROUP", 1)
    in_many_steps = run()
    monkeypatch.setattr(chunks, "_all_at_once", lambda device: True)
    for expected, *others in zip(in_one_step, in_many_steps, run(), strict=True):
        for other in others:
            torch.testing.assert_close(other, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_equal_finite_differences(causal):
    assert gradients_are_right(Reformer(LayerSpec(1, 3, causal), chunk=2).double())


def test_each_row_has_the_buckets_of_its_own_length():
    """150 tokens are hashed twice (256 buckets), 40 once (80): together as apart."""
    mechanism = Reformer(LayerSpec(2, 8, False), chunk=1, num_rounds=2).double()
    q, v = torch.randn(2, 2, 2, 150, 8, dtype=torch.float64)
    mask = torch.arange(150) < torch.tensor([[150], [40]])
    together = mechanism(q, q, v, key_mask=mask)
    for row, length in enumerate((150, 40)):
        one = slice(row, row + 1), slice(None), slice(length)
        own = q[one]
        alone = mechanism(own, own, v[one], key_mask=None)
        torch.testing.assert_close(together[one], alone, rtol=1e-12, atol=1e-12)


def test_one_chunk_is_exact_attention_to_unit_keys_without_self():
    mechanism = Reformer(LayerSpec(2, 16, True), chunk=64).double()
    q, v = torch.randn(2, 1, 2, 30, 16, dtype=torch.float64)
    keys = q / q.norm(dim=-1, keepdim=True)
    hidden = torch.ones(30, 30, dtype=torch.bool).triu()
    hidden[0, 0] = False  # the first position has nothing but itself
    weights = (q @ keys.mT).masked_fill(hidden, -torch.inf).softmax(-1)
    torch.testing.assert_close(mechanism(q, q, v, key_mask=None), weights @ v, rtol=1e-5, atol=1e-5)
    exact = Softmax(LayerSpec(2, 16, True))(q, keys, v, key_mask=None)
    assert (exact - weights @ v).abs().max() > 0.1  # the scale of 1 / sqrt(D) is another model


class TestCausality:
    """Sorting couples positions: which past a position meets may depend on later hashes; nothing
    else does."""

    mechanism = Reformer(LayerSpec(1, 8, True), chunk=8, num_rounds=2).double()
    position = 40

    def leaves(self):
        torch.manual_seed(0)
        return [torch.randn(1, 1, 64, 8, dtype=torch.float64, requires_grad=True) for _ in "qv"]

    def test_no_gradient_from_the_future(self):
        q, v = self.leaves()
        self.mechanism(q, q, v, key_mask=None)[:, :, : self.position].square().sum().backward()
        for leaf in (q, v):
            assert leaf.grad[:, :, self.position :].abs().max() == 0
            assert leaf.grad[:, :, : self.position].abs().max() > 0

    def test_later_values_and_norms_change_nothing(self):
        q, v = (x.detach() for x in self.leaves())
        before = self.mechanism(q, q, v, key_mask=None)
        q, v = q.clone(), v.clone()
        q[:, :, self.position :] *= 50
        v[:, :, self.position :] += 1
        after = self.mechanism(q, q, v, key_mask=None)
        assert torch.equal(after[:, :, : self.position], before[:, :, : self.position])
        assert not torch.equal(after[:, :, self.position :], before[:, :, self.position :])

    def test_later_directions_change_only_the_company(self):
        """The values then tell it: outputs are means of past values, whatever the sort."""
        q, v = (x.detach() for x in self.leaves())
        before = self.mechanism(q, q, v, key_mask=None)
        q = q.clone()
        q[:, :, self.position :] = torch.randn_like(q[:, :, self.position :])
        past = torch.ones_like(v)
        past[:, :, self.position :] = torch.nan
        after = self.mechanism(q, q, v, key_mask=None)[:, :, : self.position]
        assert (after - before[:, :, : self.position]).abs().max() > 1e-3
        one = slice(None), slice(None), slice(self.position)
        shown = self.mechanism(q, q, past.nan_to_num(nan=1e6), key_mask=None)[one]
        torch.testing.assert_close(shown, torch.ones_like(shown), rtol=1e-12, atol=1e-12)

    def test_a_single_chunk_is_causal_without_exception(self):
        mechanism = Reformer(LayerSpec(1, 8, True), chunk=64).double()
        q, v = (x.detach() for x in self.leaves())
        before = mechanism(q, q, v, key_mask=None)
        q = q.clone()
        q[:, :, self.position :] = torch.randn_like(q[:, :, self.position :])
        after = mechanism(q, q, v, key_mask=None)
        torch.testing.assert_close(
            after[:, :, : self.position], before[:, :, : self.position], rtol=1e-12, atol=1e-12
        )


def test_buckets_gather_what_points_the_same_way():
    """More of the exact attention is found by hashing than by chance, and more rounds find more."""
    torch.manual_seed(0)
    centres = torch.randn(16, 32).repeat(32, 1)[torch.randperm(512)]
    q = 3 * (centres + 0.3 * torch.randn(512, 32))[None, None]
    v = torch.randn(1, 1, 512, 32)
    whole = Reformer(LayerSpec(1, 32, False), chunk=512)(q, q, v, key_mask=None)

    def error(rounds):
        mechanism = Reformer(LayerSpec(1, 32, False), chunk=16, num_rounds=rounds)
        return ((mechanism(q, q, v, key_mask=None) - whole).norm() / whole.norm()).item()

    monte_carlo = [error(rounds) for rounds in (1, 4, 16)]
    assert monte_carlo[0] > monte_carlo[1] > monte_carlo[2]
    assert monte_carlo[2] < 0.5 * monte_carlo[0]


def test_training_and_evaluation_may_use_other_rounds():
    mechanism = Reformer(LayerSpec(1, 8, False), chunk=4, num_rounds=1, num_rounds_eval=3)
    only_one = Reformer(LayerSpec(1, 8, False), chunk=4, num_rounds=3)
    q, v = torch.randn(2, 1, 1, 40, 8)
    trained = mechanism.train()(q, q, v, key_mask=None)
    evaluated = mechanism.eval()(q, q, v, key_mask=None)
    assert torch.equal(evaluated, only_one(q, q, v, key_mask=None))
    assert (trained - evaluated).abs().max() > 1e-3


def test_layers_and_seeds_hash_differently():
    drawn = [
        Reformer(LayerSpec(1, 8, False, layer=layer, seed=seed)).rotations
        for layer, seed in ((0, 0), (1, 0), (0, 1))
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[1], drawn[2])


def test_keys_of_their_own_are_refused():
    q = torch.randn(1, 1, 5, 8)
    with pytest.raises(UserError, match="k to be the tensor q itself"):
        Reformer(LayerSpec(1, 8, False))(q, q.clone(), q, key_mask=None)
    assert call(Reformer(LayerSpec(1, 8, False)), q, None, q).isfinite().all()


@pytest.mark.parametrize("buckets", [0, 1, 7, 130, 194, 128 * 130, 1 << 20])
def test_impossible_buckets_are_refused(buckets):
    with pytest.raises(UserError, match=f"got {buckets}"):
        Reformer(LayerSpec(1, 8, False), num_buckets=buckets)


def test_buckets_multiply():
    for buckets in (2, 64, 128, 132, 192, 256, 1 << 14):
        first, second = hash_columns(buckets)
        assert 2 * first * max(1, 2 * second) == buckets


def test_rounds_and_chunks_of_zero_are_refused():
    for options in ({"chunk": 0}, {"num_rounds": 0}, {"num_rounds_eval": 0}):
        with pytest.raises(UserError, match="at least 1"):
            Reformer(LayerSpec(1, 8, False), **options)
