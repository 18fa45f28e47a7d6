"""Processes that tokenize: one that dies is said, what they do stays in order."""

import multiprocessing
import os
import time
from itertools import count, islice, repeat

import numpy as np
import pytest

from protein_performer.data.preparing.parallel import tokenize_all
from protein_performer.data.preparing.tokenizer import Bundle, Tokenized
from protein_performer.data.reading.reader import Place
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.errors import UserError

MORE_THAN_A_PIPE_HOLDS = b">x\nACDE\n" * 2**17


def bundle(text):
    return Bundle([TextBlock(text, "fasta", "x", 1)], Place(), 0)


def in_a_process_of_its_own():
    return multiprocessing.parent_process() is not None


class Dying:
    """Ends its process, at once or once it has been sent something."""

    def __init__(self, at_once):
        self.at_once = at_once

    def __setstate__(self, state):
        if state["at_once"]:
            os._exit(3)
        self.__dict__ = state

    def encode(self, blocks):
        if in_a_process_of_its_own():
            os._exit(3)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_process_that_dies_is_said(at_once):
    endless = (bundle(MORE_THAN_A_PIPE_HOLDS) for _ in repeat(None))
    with pytest.raises(RuntimeError, match="a process that tokenizes ended"):
        for _ in tokenize_all(endless, Dying(at_once), workers=1):
            pass


class Slow:
    """Tells the bundle's number and its process, and refuses from a number on; slow but here."""

    def __init__(self, refused_from=10**9):
        self.refused_from = refused_from

    def encode(self, blocks):
        number = blocks[0].first_line
        if in_a_process_of_its_own():
            time.sleep(0.02)
        if number >= self.refused_from:
            raise UserError(f"bundle {number}")
        told = np.array([[number, os.getpid(), 0]], dtype=np.uint64)
        return Tokenized([], told, np.zeros(1, dtype=np.uint8), ReadCounts(), 0)


def numbered(enough):
    for number in count(1):
        if enough(number):
            return
        text = TextBlock(MORE_THAN_A_PIPE_HOLDS, "fasta", "x", number)
        yield Bundle([text], Place(), number)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order_whoever_encoded(workers):
    processes = set()
    bundles = numbered(lambda number: number > 50 and len(processes) == workers + 1)
    for number, (done, tokenized) in enumerate(tokenize_all(bundles, Slow(), workers), start=1):
        told, process, _ = tokenized.digests[0].tolist()
        assert told == done.bytes_read == number
        processes.add(process)
    assert number >= 50
    assert os.getpid() in processes


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("reader_fails", [False, True])
def test_the_first_fault_is_told_wherever_it_was_found(workers, reader_fails):
    def bundles():
        yield from numbered(lambda number: reader_fails and number > 60)
        raise UserError("reader")

    finished = tokenize_all(bundles(), Slow(refused_from=60), workers)
    assert len(list(islice(finished, 59))) == 59
    with pytest.raises(UserError, match=r"bundle 60$"):
        next(finished)
