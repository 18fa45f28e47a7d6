"""Buffers that outlive a call."""

import torch
from attention.favor.dense_layer import layer
from torch._subclasses.fake_tensor import FakeTensorMode

from protein_performer.attention.favor.cpu import scratch


def test_scratch_hands_out_what_it_holds():
    buffers = scratch.Scratch(torch.zeros(1))
    first = buffers("a", 2, 3)
    assert buffers("a", 2, 3) is first
    assert buffers("a", 3, 2).data_ptr() == first.data_ptr()
    assert buffers("b", 2, 3).data_ptr() != first.data_ptr()
    assert buffers("a", 4, 4).shape == (4, 4)
    assert buffers("a", 2, 3).data_ptr() != first.data_ptr()


def test_scratch_remembers_few_shapes():
    """Each batch of a long training may have a shape of its own."""
    buffers = scratch.Scratch(torch.zeros(1))
    largest = buffers("a", 2000)
    views = [buffers("a", size) for size in range(1, 2000)]
    assert len(buffers._views) <= scratch.VIEWS
    assert all(view.data_ptr() == largest.data_ptr() for view in views)


def test_scratch_serves_the_next_call_of_its_kind():
    like = torch.zeros(1)
    first = scratch.Scratch.borrow(like)
    assert scratch.Scratch.borrow(like) is not first  # it is in use
    first("a", 5)
    first.give_back()
    assert scratch.Scratch.borrow(like.double()) is not first
    with torch.inference_mode():
        assert scratch.Scratch.borrow(torch.zeros(1)) is not first
    assert scratch.Scratch.borrow(like) is first
    first("b", scratch.KEPT)
    first.give_back()
    assert scratch.Scratch.borrow(like) is not first  # too large to keep


def test_what_a_tracer_made_is_not_kept():
    favor = layer(False)
    x = torch.randn(1, 2, 9, 8)
    expected = favor(x, x, x, key_mask=None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        buffers = scratch.Scratch.borrow(x)
        buffers("u", 10**6)
        buffers.give_back()
        favor(*(torch.randn(1, 2, 900, 8) for _ in range(3)), key_mask=None)
    assert torch.equal(favor(x, x, x, key_mask=None), expected)
