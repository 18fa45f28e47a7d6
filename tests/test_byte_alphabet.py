import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_performer.alphabet import Alphabet, ResidueCounts
from protein_performer.byte_alphabet import ByteAlphabet, alphabet_from
from protein_performer.errors import UserError

TEXT = ByteAlphabet()


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_comes_back(text):
    codes = TEXT.encode(text)
    assert codes.dtype == np.uint8
    assert len(codes) == len(text.encode())
    assert TEXT.decode(codes) == text
    assert not len(codes) or TEXT.first_letter <= codes.min() <= codes.max() < len(TEXT)


def test_bytes_that_occur_in_utf_8_have_codes_of_their_own():
    """All characters of Unicode are written with 243 bytes (RFC 3629: no C0, C1, F5...FF)."""
    blocks = (range(0x0, 0xD800), range(0xE000, 0x110000, 64))
    everything = "".join(chr(point) for block in blocks for point in block)
    occurring = sorted(set(everything.encode()))
    assert set(range(256)) - set(occurring) == {0xC0, 0xC1, *range(0xF5, 0x100)}
    assert sorted(set(TEXT.encode(everything).tolist())) == list(range(4, 4 + len(occurring)))
    assert len(TEXT) == 4 + len(occurring) == 4 + len(TEXT.letter_names)
    assert TEXT.encode(b"\x00A\x7f").tolist() == [4, 4 + ord("A"), 4 + 0x7F]


@given(st.binary(max_size=40))
def test_no_bytes_are_read_as_others(raw):
    """What is accepted comes back as it was; what is not UTF-8 is refused and can be repaired."""
    counts = ResidueCounts()
    repaired = TEXT.decode(TEXT.encode(raw, "unknown", counts=counts))
    left = TEXT.decode(TEXT.encode(raw, "skip", counts=counts))
    assert repaired == raw.decode("utf-8", "replace")
    assert left == raw.decode("utf-8", "ignore")
    try:
        assert TEXT.decode(TEXT.encode(raw)).encode() == raw
    except UserError:
        assert counts.unknown > 0
        assert counts.skipped > 0
    else:
        assert counts.unknown == counts.skipped == 0


def test_what_is_not_utf_8_is_told_with_its_place_and_counted():
    latin = "caf\xe9 au lait \ufffd".encode("utf-8").replace("\xe9".encode(), b"\xe9")
    with pytest.raises(UserError, match=r"book\.txt: .* 0xE9 at byte 4 .*iconv"):
        TEXT.encode(latin, where="book.txt")
    counts = ResidueCounts()
    assert TEXT.decode(TEXT.encode(latin, "unknown", counts=counts)) == "caf\ufffd au lait \ufffd"
    assert TEXT.decode(TEXT.encode(latin, "skip", counts=counts)) == "caf au lait \ufffd"
    assert (counts.unknown, counts.skipped) == (1, 1)
    with pytest.raises(UserError, match="0xED at byte 2"):
        TEXT.encode("a\ud800")


def test_specials_and_broken_characters_can_be_shown():
    codes = [TEXT.bos, *TEXT.encode("é").tolist(), TEXT.eos]
    assert TEXT.decode(np.array(codes)) == "<bos>é<eos>"
    assert TEXT.decode(np.array(codes[:2])) == "<bos>\ufffd"


@pytest.mark.parametrize("alphabet", [TEXT, Alphabet(), Alphabet("ACGT", "N", "N")])
def test_an_alphabet_comes_back_from_its_description(alphabet):
    assert alphabet_from(json.loads(json.dumps(alphabet.plain()))) == alphabet
