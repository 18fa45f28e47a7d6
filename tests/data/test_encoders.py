"""Processes that encode: one that dies is told, and no one waits for it."""

import os

import pytest

from protein_performer.data.blocks import TextBlock
from protein_performer.data.encoders import encode_all
from protein_performer.data.encoding import Bundle
from protein_performer.data.place import Place


class Dying:
    """Ends its process, at once or once it has been sent something."""

    def __init__(self, at_once):
        self.at_once = at_once

    def load(self):
        pass

    def __setstate__(self, state):
        if state["at_once"]:
            os._exit(3)
        self.__dict__ = state

    def encode(self, blocks):
        os._exit(3)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_encoder_that_dies_is_told_with_its_exit_code(at_once):
    text = b">x\nACDE\n" * 2**19  # more than a pipe holds
    bundles = [Bundle([TextBlock(text, "fasta", "x", 1)], Place(), 0) for _ in range(3)]
    with pytest.raises(RuntimeError, match=r"encoder process ended \(exit code 3"):
        list(encode_all(bundles, Dying(at_once), workers=1))
