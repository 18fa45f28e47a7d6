import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_performer.alphabet import Alphabet, ResidueCounts
from protein_performer.errors import UserError

PROTEIN = Alphabet()


def test_every_letter_has_its_own_code_after_the_specials():
    codes = PROTEIN.encode(PROTEIN.letters)
    assert codes.tolist() == list(range(4, 30))
    assert len(PROTEIN) == 30
    assert list(PROTEIN.standard_codes) == list(range(4, 24))


def test_lower_case_is_upper_case_and_counted():
    counts = ResidueCounts()
    lower = PROTEIN.encode("mkvX", counts=counts)
    assert lower.tolist() == PROTEIN.encode("MKVX").tolist()
    assert (counts.residues, counts.lower_case, counts.rare) == (4, 3, 1)


@pytest.mark.parametrize("character", sorted(set(string.printable) - set(string.ascii_letters)))
def test_any_other_character_is_an_error_a_replacement_or_a_gap(character):
    with pytest.raises(UserError, match=r"file\.fasta: .* at position 3"):
        PROTEIN.encode(f"MK{character}L", "error", where="file.fasta")
    counts = ResidueCounts()
    assert PROTEIN.decode(PROTEIN.encode(f"MK{character}L", "unknown", counts=counts)) == "MKXL"
    assert PROTEIN.decode(PROTEIN.encode(f"MK{character}L", "skip", counts=counts)) == "MKL"
    assert (counts.unknown, counts.skipped, counts.residues) == (1, 1, 7)


def test_characters_beyond_latin_1_are_outside_the_alphabet():
    with pytest.raises(UserError, match="position 2"):
        PROTEIN.encode("MΔK")
    assert PROTEIN.decode(PROTEIN.encode("MΔK", "unknown")) == "MXK"


@given(st.text(alphabet=PROTEIN.letters))
def test_decoding_undoes_encoding(sequence):
    codes = PROTEIN.encode(sequence)
    assert codes.dtype == np.uint8
    assert PROTEIN.decode(codes) == sequence


def test_specials_are_never_written_by_encode():
    every_byte = bytes(range(256))
    codes = PROTEIN.encode(every_byte, "unknown")
    assert codes.size == 256
    assert codes.min() >= PROTEIN.first_letter
    assert codes.max() < len(PROTEIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"standard": "AAC"}, "distinct"),
        ({"unknown": "?"}, "none of"),
        ({"standard": "".join(map(chr, range(256, 520))), "unknown": chr(256)}, "uint8"),
    ],
)
def test_an_alphabet_that_cannot_work_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Alphabet(**options)


def test_counts_add_up():
    total = ResidueCounts(residues=1, lower_case=2)
    total.add(ResidueCounts(residues=3, skipped=4))
    assert total == ResidueCounts(residues=4, lower_case=2, skipped=4)
