"""What of an address may be shown and stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_performer.addresses import public_address, public_text

SECRETS = "s3cr3t-Value"

SIGNED = {
    "https://me:{}@host:81/a/b.gz": "https://host:81/a/b.gz",
    "https://{}@host/a.gz": "https://host/a.gz",
    "s3://key:{}@bucket/a.gz": "s3://bucket/a.gz",
    "https://host/a.gz?X-Amz-Algorithm=AWS4&X-Amz-Credential={0}&X-Amz-Signature={0}": (
        "https://host/a.gz"
    ),
    "https://host/a.gz?GoogleAccessId=me&Expires=1&Signature={}": "https://host/a.gz",
    "https://host/a.gz?sv=2022&se=2026-01-01&sr=b&sp=r&spr=https&sig={}": "https://host/a.gz",
    "https://host/a.gz?Policy={0}&Signature={0}&Key-Pair-Id=K": "https://host/a.gz",
    "https://host/a?query=x&access_token={}": "https://host/a?query=x",
    "https://host/a.gz#{}": "https://host/a.gz",
    "zip://a.fasta::https://me:{}@host/a.zip": "zip://a.fasta::https://host/a.zip",
    "https://me:{}@[::1]:80/a.gz": "https://[::1]:80/a.gz",
    "https://host?token={}": "https://host",
}


@pytest.mark.parametrize(("address", "expected"), SIGNED.items())
def test_an_address_is_shown_without_what_lets_others_in(address, expected):
    assert public_address(address.format(SECRETS)) == expected
    assert public_address(address.format("another")) == expected  # signed again: the same source
    error = f"cannot read '{address.format(SECRETS)}' (refused)"
    assert public_text(error) == f"cannot read '{expected}' (refused)"


@pytest.mark.parametrize("parameter", ["shelf={}", "{}", "={}", "a=1&b={}&c=2"])
def test_a_parameter_of_unknown_meaning_tells_sources_apart_and_is_not_shown(parameter):
    shown = public_address(f"https://host/a?{parameter.format(SECRETS)}")
    assert SECRETS not in shown
    assert shown != public_address(f"https://host/a?{parameter.format('another')}")
    assert shown == public_address(f"https://host/a?{parameter.format(SECRETS)}")


def test_what_states_the_content_stays_and_a_file_is_no_address():
    query = "https://rest.uniprot.org/uniprotkb/stream?query=organism_id:9606&format=fasta"
    assert public_address(query) == query
    assert public_address("data/me:pw@x?token=1.fasta") == "data/me:pw@x?token=1.fasta"
    assert public_text("no address: a?token=1") == "no address: a?token=1"


PARTS = st.text(alphabet="ab:@/?&=;#.%", max_size=30)


@given(rest=PARTS)
def test_a_public_address_stays_as_it_is(rest):
    once = public_address(f"https://{rest}")
    assert public_address(once) == once
