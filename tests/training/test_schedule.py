import math

import pytest

from protein_performer.errors import UserError
from protein_performer.training.schedule import constant, inverse_sqrt, trapezoid, warmup_cosine


def test_constant_is_the_papers_fixed_rate():
    assert {constant()(step) for step in (0, 1, 10**6)} == {1.0}


def test_trapezoid_rises_stays_and_falls_to_its_end():
    factor = trapezoid(total_steps=100, warmup_share=0.1, decay_share=0.2, final=0.1)
    assert factor(0) == pytest.approx(1 / 11)
    assert [factor(step) for step in (10, 50, 80)] == [1.0, 1.0, 1.0]
    assert factor(90) == pytest.approx(0.55)
    assert factor(100) == factor(200) == pytest.approx(0.1)


def test_cosine_is_half_way_down_in_the_middle():
    factor = warmup_cosine(total_steps=100, warmup_share=0.0)
    assert factor(50) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0.0)


def test_inverse_sqrt_meets_its_warm_up():
    factor = inverse_sqrt(warmup_steps=10)
    assert factor(40) == pytest.approx(0.5)
    assert max(factor(step) for step in range(100)) == pytest.approx(1.0)
    assert math.isclose(factor(4), 5 / 11)


@pytest.mark.parametrize("make", [trapezoid, warmup_cosine])
def test_a_schedule_without_an_end_is_refused(make):
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        make(total_steps=-1)
    with pytest.raises(UserError, match="warmup_share"):
        make(total_steps=10, warmup_share=1.0)


def test_inverse_sqrt_needs_a_warm_up():
    with pytest.raises(UserError, match="warmup_steps"):
        inverse_sqrt(warmup_steps=0)
