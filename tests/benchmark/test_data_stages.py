"""Where the time of `prepare` goes."""

from pathlib import Path

from protein_performer.benchmark import data_stages
from protein_performer.benchmark.data_reading import ZLIB
from protein_performer.benchmark.made_sources import make_source

STAGES = data_stages.STAGES
SAMPLE = Path(__file__).parents[2] / "data" / "trembl_sample.fasta.gz"


def test_every_stage_takes_time_and_none_is_counted_twice(tmp_path):
    """A stage that is not called where it is watched would take none; one twice, the rest's."""
    made = make_source([str(SAMPLE)], tmp_path, 2)
    before = {stage: [getattr(*each) for each in places] for stage, places in STAGES.items()}
    found = data_stages.stage_nanoseconds(made.path, tmp_path / "prepared", ZLIB)
    assert set(found) == {*STAGES, data_stages.REST}
    assert min(found.values()) > 0, found
    after = {stage: [getattr(*each) for each in places] for stage, places in STAGES.items()}
    assert after == before
