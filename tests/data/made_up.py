"""Made-up proteins on disk, and a data module over them."""

import random
from pathlib import Path

from protein_performer.data.datamodule import ProteinDataModule
from protein_performer.data.objectives import MaskedResidues
from protein_performer.data.splits import SplitRule

STANDARD = "ACDEFGHIKLMNPQRSTVWY"


def sequences(count: int, *, longest: int = 200, seed: int = 0) -> list[str]:
    lots = random.Random(seed)
    return ["".join(lots.choices(STANDARD, k=lots.randint(1, longest))) for _ in range(count)]


def write_fasta(path: Path, proteins: list[str], *, prefix: str = "P") -> Path:
    text = "".join(f">tr|{prefix}{i}|NAME {i}\n{each}\n" for i, each in enumerate(proteins))
    path.write_text(text)
    return path


def write_clusters(path: Path, count: int, *, size: int = 5, prefix: str = "P") -> Path:
    """Clusters of `size` neighbours each."""
    path.write_text("".join(f"C{i // size}\t{prefix}{i}\n" for i in range(count)))
    return path


def write_flat(path: Path, entries: list[tuple[str, str, tuple[str, ...]]]) -> Path:
    """TrEMBL flat-file entries of (accession, sequence, Pfam accessions)."""
    path.write_text("".join(_flat_entry(*entry) for entry in entries))
    return path


def _flat_entry(accession: str, sequence: str, families: tuple[str, ...]) -> str:
    refs = "".join(f"DR   Pfam; {family}; Name; 1.\n" for family in families)
    lines = "".join(
        "     "
        + " ".join(sequence[j : j + 10] for j in range(i, min(i + 60, len(sequence)), 10))
        + "\n"
        for i in range(0, len(sequence), 60)
    )
    return (
        f"ID   {accession}_TEST   Unreviewed;  {len(sequence)} AA.\nAC   {accession};\n"
        f"DE   SubName: Full=X;\nOS   Testus.\n{refs}"
        f"SQ   SEQUENCE   {len(sequence)} AA;  300 MW;  0000000000000000 CRC64;\n{lines}//\n"
    )


def data_module(folder: Path, count: int = 400, **options) -> ProteinDataModule:
    """A data module over made-up proteins; options go to it."""
    fasta = folder / "proteins.fasta"
    if not fasta.exists():
        write_fasta(fasta, sequences(count))
        write_clusters(folder / "clusters.tsv", count)
    rule = SplitRule(val=0.1, test=0.1, ood=0.1, clusters=str(folder / "clusters.tsv"))
    options = {"splits": rule, "objective": MaskedResidues(), "batch_tokens": 1500, **options}
    return ProteinDataModule(options.pop("sources", [str(fasta)]), **options)


def batches(module: ProteinDataModule) -> list[list[bytes]]:
    """Two epochs of training, the validation and the test sets, to compare."""
    train = module.train_dataloader()
    loaders = [train, train, module.val_dataloader(), *module.test_dataloader()]
    found = []
    for epoch, loader in enumerate(loaders):
        if loader is train:
            loader.sampler.set_epoch(epoch)
        found += [[part.numpy().tobytes() for part in batch] for batch in loader]
    return found


def rows(batches) -> dict[int, tuple[list[int], list[int]]]:
    """record -> (inputs, targets) without padding."""
    found = {}
    for batch in batches:
        for inputs, targets, mask, record in zip(*batch, strict=True):
            assert int(record) not in found
            found[int(record)] = (inputs[mask].tolist(), targets[mask].tolist())
    return found
