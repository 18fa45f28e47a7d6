"""What an embedding is: pooling, layers, windows; and that it depends on nothing else."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint
from torch.testing import assert_close

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.embedding.embedding import embed_codes
from protein_performer.inference.embedding.pooling import window_begins

MECHANISMS = {
    "softmax": SOFTMAX,
    "relu": RELU,
    "favor": RELU | {"feature_map": "softmax"},
    "window": {"_target_": "protein_performer.attention.sliding_window.SlidingWindow", "window": 3},
    "reformer": {"_target_": "protein_performer.attention.reformer.reformer.Reformer", "chunk": 4},
    "linformer": {
        "_target_": "protein_performer.attention.linformer.Linformer",
        "max_length": 70,
        "num_keys": 8,
    },
    "values": {"_target_": "protein_performer.attention.identity.Values"},
}
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"


def load(tmp_path, objective="mlm", attention=SOFTMAX, **trunk):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention, **trunk))
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def random_proteins(count, longest=60):
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, longest, count)
    return ["".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in lengths]


@pytest.mark.parametrize("objective", ["mlm", "causal"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_an_embedding_does_not_depend_on_batch_mates_place_or_batch_size(tmp_path, name, objective):
    if (name, objective) == ("linformer", "causal"):
        objective = "mlm"
    lm = load(tmp_path, objective, MECHANISMS[name], convolution=3)
    proteins = random_proteins(40)
    together = lm.embed(proteins)
    lm.batch_tokens = 100
    few = lm.embed(proteins[::-1]).flip(0)
    alone = torch.cat([lm.embed(each) for each in proteins])
    for other in (few, alone):
        assert (other - together).abs().max() <= 1e-5 * together.abs().max()


@pytest.mark.parametrize("residual", ["plain", "reversible"])
def test_layers_are_what_leaves_each_block(tmp_path, residual):
    lm = load(tmp_path, residual=residual, convolution=3)
    seen = {}
    for i, block in enumerate(lm.network.blocks, 1):
        block.mlp.register_forward_hook(lambda module, args, out, i=i: seen.update({i: out}))
    lm.embed(PROTEIN)
    (first,), (middle,), (last,) = (lm.embed(PROTEIN, "residue", layer=i) for i in range(3))
    codes = torch.from_numpy(lm.alphabet.encode(PROTEIN).astype(int))
    assert_close(first, lm.network.embedding(codes).detach())
    assert_close(last, lm.embed(PROTEIN, "residue", layer=-1)[0], rtol=0, atol=0)
    assert_close(last, lm.embed(PROTEIN, "residue")[0], rtol=1e-5, atol=1e-5)
    assert_close(middle, lm.embed(PROTEIN, "residue", layer=-2)[0], rtol=0, atol=0)
    if residual == "plain":  # block 2 adds its two branches to what left block 1
        without = last - middle
        assert without.abs().max() > 0.01
    assert set(seen) == {1, 2}


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_poolings_are_taken_from_the_right_tokens(tmp_path, objective):
    lm = load(tmp_path, objective)
    ends = [lm.alphabet.eos] if objective == "mlm" else []
    codes = lm.alphabet.encode(PROTEIN).tolist()
    states = lm.network.hidden(torch.tensor([[lm.alphabet.bos, *codes, *ends]]))[0].detach()
    others = [PROTEIN * 2, PROTEIN, "M"]  # so that there is padding
    wanted = {"mean": states[1:23].mean(0), "max": states[1:23].amax(0), "eos": states[-1]}
    for pooling, vector in wanted.items():
        assert_close(lm.embed(others, pooling)[1], vector, rtol=1e-5, atol=1e-5)
    if objective == "mlm":
        assert_close(lm.embed(others, "bos")[1], states[0], rtol=1e-5, atol=1e-5)
    else:
        with pytest.raises(UserError, match="a causal model has seen nothing"):
            lm.embed(others, "bos")


@pytest.mark.parametrize(("length", "window"), [(10, 4), (7, 4), (9, 9), (3, 9), (5, 1), (11, 2)])
def test_windows_cover_all_and_overlap_by_half(length, window):
    begins = window_begins(length, window)
    covered = {i for begin in begins for i in range(begin, min(begin + window, length))}
    assert covered == set(range(length))
    assert begins == sorted(set(begins))
    assert begins[-1] + window == length or begins == [0]
    assert all(b - a <= max(1, window // 2) for a, b in pairwise(begins))


@pytest.mark.parametrize("pooling", ["mean", "max", "bos", "eos", "residue"])
def test_windows_are_averaged_where_they_overlap(tmp_path, pooling):
    lm = load(tmp_path)
    codes = lm.encode([PROTEIN, "MKT"])
    (long,), (short,) = embed_codes(lm, codes, pooling, window=8)
    assert_close(short, lm.embed("MKT", pooling)[0], rtol=1e-5, atol=1e-5)
    begins = window_begins(len(PROTEIN), 8)
    pieces = [PROTEIN[begin : begin + 8] for begin in begins]
    if pooling in ("bos", "eos"):
        wanted = lm.embed(pieces, pooling).mean(0)
    else:
        rows = [[] for _ in PROTEIN]
        for begin, piece in zip(begins, lm.embed(pieces, "residue"), strict=True):
            for i, row in enumerate(piece):
                rows[begin + i].append(row)
        states = torch.stack([torch.stack(each).mean(0) for each in rows])
        wanted = {"mean": states.mean(0), "max": states.amax(0), "residue": states}[pooling]
    assert_close(long, wanted, rtol=1e-5, atol=1e-5)
