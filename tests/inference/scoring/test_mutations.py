import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.scoring.mutations import (
    Mutation,
    check_variant,
    mutate,
    parse_variant,
    write_variant,
)

LETTERS = Alphabet().letters


@given(
    st.lists(
        st.tuples(st.integers(1, 40_000), st.sampled_from(LETTERS), st.sampled_from(LETTERS)),
        unique_by=lambda each: each[0],
    )
)
def test_what_is_written_is_read_again(parts):
    variant = tuple(sorted(Mutation(p - 1, wild, mutant) for p, wild, mutant in parts))
    assert parse_variant(write_variant(variant)) == variant


@pytest.mark.parametrize(
    "text", ["", "A", "12", "A12", "12G", "A0G", "A12*", "A-1G", "A12G,T4K", "p.Ala12Gly", "A12G:"]
)
def test_what_is_no_mutation_is_an_error_with_its_place(text):
    with pytest.raises(UserError, match=r"scores.csv, row 7: expected mutations such as A123G"):
        parse_variant(text, "scores.csv, row 7")


def test_two_mutations_of_one_residue_are_an_error():
    with pytest.raises(UserError, match="row 2: 'A4G:A4K' has two mutations of residue 4"):
        parse_variant("A4G:A4K", "row 2")


def test_a_wrong_wild_residue_names_row_and_residue():
    with pytest.raises(UserError, match="row 3: A2G: residue 2 of the wild type is K, not A"):
        check_variant(parse_variant("A2G"), "MKT", LETTERS, "row 3")
    with pytest.raises(UserError, match="row 3: T4G: there is no residue 4"):
        check_variant(parse_variant("M1K:T4G"), "MKT", LETTERS, "row 3")
    with pytest.raises(UserError, match="row 3: K2R: the model has no residue R"):
        check_variant(parse_variant("K2R"), "MKT", "MKT", "row 3")
    check_variant(parse_variant("M1A:T3W"), "MKT", LETTERS)


def test_the_wild_type_is_a_variant():
    assert parse_variant("WT") == parse_variant(" wt ") == ()
    assert mutate("MKT", ()) == "MKT"
