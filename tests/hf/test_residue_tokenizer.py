"""Tokenizers for transformers: the codes of our alphabets."""

import pytest
import transformers

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import ByteAlphabet
from protein_performer.hf.residue_tokenizer import make_tokenizer

ODD = "MKtAy*-J1 \n€é😀X"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("policy", ["unknown", "skip"])
def test_codes_are_those_of_the_alphabet(tmp_path, causal, policy):
    make_tokenizer(Alphabet(), policy, causal=causal).save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ends = [] if causal else [Alphabet.eos]
    for sequence in ("MKTAYIAK", ODD, Alphabet().letters):
        codes = Alphabet().encode(sequence, "unknown").tolist()
        assert tokenizer(sequence).input_ids == [Alphabet.bos, *codes, *ends]
        text = tokenizer.decode([Alphabet.bos, *codes, *ends], skip_special_tokens=True)
        assert text == Alphabet().decode(Alphabet().encode(sequence, "unknown"))
    assert len(tokenizer) == len(Alphabet())


def test_special_tokens_are_read_in_text():
    tokenizer = make_tokenizer(Alphabet(), "error", causal=True)
    assert tokenizer("MK<mask>T<eos>").input_ids == [1, 14, 12, 3, 20, 2]
    names = ("pad", "bos", "eos", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3]


def test_a_policy_of_errors_stays_one():
    tokenizer = make_tokenizer(Alphabet(), "error", causal=True)
    assert tokenizer("mkt").input_ids == [1, 14, 12, 20]
    with pytest.raises(Exception, match="UNK"):
        tokenizer("MK*T")


def test_padding_is_where_the_objective_wants_it():
    for causal, row in ((True, [0, 0, 1, 14]), (False, [1, 14, 2, 0, 0])):
        tokenizer = make_tokenizer(Alphabet(), "error", causal=causal)
        batch = tokenizer(["MKT", "M"], padding=True)
        assert batch.input_ids[1] == row
        assert batch.attention_mask[1] == [int(code > 0) for code in row]


def test_case_counts_where_the_alphabet_says_so():
    alphabet = Alphabet(standard="Aa", rare="X", ignore_case=False)
    tokenizer = make_tokenizer(alphabet, "unknown", causal=True)
    assert tokenizer("Aax").input_ids == [1, *alphabet.encode("Aax", "unknown").tolist()]


def test_text_is_read_as_bytes(tmp_path):
    make_tokenizer(ByteAlphabet(), "error", causal=True).save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "".join(map(chr, range(0x300))) + "\n€😀 né"
    codes = tokenizer(text).input_ids
    assert codes == [ByteAlphabet.bos, *ByteAlphabet().encode(text).tolist()]
    assert tokenizer.decode(codes, skip_special_tokens=True) == text
    assert len(tokenizer) == len(ByteAlphabet())
