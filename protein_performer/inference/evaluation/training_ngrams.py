"""The n-grams of a training set, to hold a model against: from a prepared folder or from files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE, Batch
from protein_performer.data.manifest import (
    check_alphabet,
    is_prepared,
    open_split,
    read_manifest,
)
from protein_performer.data.shards import StoredSplit
from protein_performer.inference.batcher import Codes
from protein_performer.inference.encoded_proteins import SourceCounts, read_proteins
from protein_performer.ngram import NGrams

MOST_RESIDUES = 100_000_000  # counted: half a minute, and the table of 5-grams is full long before


def count_split(split: StoredSplit, alphabet: Alphabet) -> NGrams:
    """The n-grams of a stored training set: of every k-th protein where it is very large."""
    counts = split.length_counts()
    every = -(-int(counts @ np.arange(len(counts))) // MOST_RESIDUES) or 1
    chosen = (split.residues(int(index)) for index in split.by_length()[::every])
    return _count(chosen, alphabet)


def count_training_set(source: str, alphabet: Alphabet) -> NGrams:
    """The n-grams of the training set that a user names.

    Args:
        source: a folder that `prepare` wrote, of which its `train` split is counted; or FASTA or
            flat files, of which all proteins are, up to `MOST_RESIDUES`.
        alphabet: of the model.

    Raises: UserError for a folder with another alphabet, and for what cannot be read.
    """
    if is_prepared(Path(source)):
        manifest = read_manifest(Path(source))
        check_alphabet(manifest, alphabet, source)
        return count_split(open_split(Path(source), manifest, "train"), alphabet)
    proteins = read_proteins(source, alphabet, "unknown", SourceCounts())
    return _count(_up_to(MOST_RESIDUES, (each.codes for each in proteins)), alphabet)


def log_probabilities(ngrams: NGrams, batch: Batch, *, next_token: bool) -> NDArray[np.float64]:
    """What n-grams say of the letters of a batch's targets, each given the letters before it.

    Of masked residues that is more than the model is given to the left, and nothing to the right.

    Args:
        ngrams: of the training set.
        batch: on the CPU; N of its targets are letters.
        next_token: whether column i is scored against token i + 1.

    Returns: (n, N, A), entry k - 1 of order k.
    """
    inputs, targets = batch.inputs.numpy(), batch.targets.numpy()
    if next_token:
        histories = ngrams.histories(np.pad(inputs, ((0, 0), (0, 1))))[:, 1:]
    else:
        histories = ngrams.histories(np.where(targets != IGNORE, targets, inputs))
    return np.log(ngrams.probabilities(histories[targets >= ngrams.first_letter]))


def _count(proteins: Iterable[Codes], alphabet: Alphabet) -> NGrams:
    ngrams = NGrams(len(alphabet.letters), alphabet.first_letter)
    ngrams.add(proteins)
    return ngrams


def _up_to(residues: int, proteins: Iterable[Codes]) -> Iterator[Codes]:
    for each in proteins:
        if residues <= 0:
            return
        residues -= len(each)
        yield each
