"""Records prepared by way of a FASTA file, and read again."""

from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import open_split, read_manifest
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.reading.record import Record
from protein_performer.data.splits import SplitRule

PROTEIN = Alphabet()
RULE = SplitRule(val=0.2, test=0.2)


def records_of(proteins):
    return [Record(f"P{i}", "", each) for i, each in enumerate(proteins)]


def prepared(folder, records, *, policy="error", rule=RULE, shard_proteins=7, **options):
    """Prepare records by way of a FASTA file beside the folder."""
    path = folder.with_name(f"{folder.name}.fasta")
    path.write_text("".join(f">{each.accession}\n{each.sequence}\n" for each in records))
    how = ProteinPreprocessing(PROTEIN, policy, rule, shard_proteins)
    return prepare([str(path)], folder, how, **options)


def stored(folder, name):
    return open_split(folder, read_manifest(folder), name)
