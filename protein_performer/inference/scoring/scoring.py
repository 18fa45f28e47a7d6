"""Files of proteins to a file of scores: a row a record, in the order of the files."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protein_performer.alphabet import ResiduePolicy
from protein_performer.data.reading.sources import Source
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.encoded_proteins import (
    Protein,
    SourceCounts,
    in_chunks,
    read_proteins,
)
from protein_performer.inference.row_file import writing_rows
from protein_performer.inference.scoring.likelihood import (
    Cost,
    Method,
    SequenceScore,
    choose_method,
    cost,
    score_codes,
)

# What a file calls the likelihood and the perplexity: no two kinds of them have one name.
NAMES: dict[Method, tuple[str, str]] = {
    "exact": ("log_likelihood", "perplexity"),
    "pseudo": ("pseudo_log_likelihood", "pseudo_perplexity"),
    "one-pass": ("one_pass_pseudo_log_likelihood", "one_pass_pseudo_perplexity"),
}


@dataclass
class Totals:
    """Sums over the proteins that were scored.

    Attributes:
        method: that all of them were scored by.
        failed: accessions of those that did not fit into memory.
    """

    method: Method
    proteins: int = 0
    residues: int = 0
    log_likelihood: float = 0.0
    correct: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, accession: str, score: SequenceScore) -> None:
        """Count one protein."""
        if math.isnan(score.log_likelihood):
            self.failed.append(accession)
            return
        self.proteins += 1
        self.residues += score.residues
        self.log_likelihood += score.log_likelihood
        self.correct += score.correct

    def figures(self) -> dict[str, object]:
        """Over all residues, whichever protein they belong to."""
        total = SequenceScore(self.residues, self.log_likelihood, self.correct)
        likelihood, perplexity = NAMES[self.method]
        return {
            "method": self.method,
            "proteins": self.proteins,
            "residues": self.residues,
            likelihood: self.log_likelihood,
            perplexity: total.perplexity if self.residues else None,
            "accuracy": total.accuracy if self.residues else None,
            "failed": self.failed,
        }


def score_source(
    model: BatchedModel,
    sources: Source | Sequence[Source],
    out: Path,
    *,
    method: Method | None = None,
    residue_policy: ResiduePolicy | None = None,
    overwrite: bool = False,
    on_cost: Callable[[Cost, int], None] = lambda passes, proteins: None,
    on_passes: Callable[[int], None] = lambda passes: None,
) -> tuple[Totals, SourceCounts]:
    """Score every protein of a source.

    Writes the columns `accession`, `residues`, the likelihood and the perplexity under the names
    of the method (`NAMES`), and `accuracy`.

    Args:
        model: a loaded checkpoint.
        sources: what `read_records` takes.
        out: see `row_file.writing_rows`.
        method: see `likelihood.score_codes`.
        residue_policy: of characters outside the alphabet; None for the training's.
        on_cost: called once, with the cost and the number of proteins, before a pseudo-likelihood:
            for that all proteins are read first, one byte a residue.
        on_passes: see `score_codes`.

    Raises: UserError for a model of text, a method that the model does not have, a path that cannot
        be written, and a source that cannot be read or has no protein.
    """
    model.check_reads_proteins()
    method = choose_method(model, method)
    totals, counts = Totals(method), SourceCounts()
    policy = residue_policy or model.checkpoint.residue_policy
    with writing_rows(out, overwrite=overwrite, metadata={"method": method}) as rows:
        proteins: Iterable[Protein] = read_proteins(sources, model.alphabet, policy, counts)
        if method == "pseudo":
            proteins = list(proteins)
            on_cost(cost([len(each.codes) for each in proteins], method), len(proteins))
        for chunk in in_chunks(proteins):
            codes = [each.codes for each in chunk]
            scores = score_codes(model, codes, method, keep_going=True, on_passes=on_passes)
            rows.append(_columns(chunk, scores, method))
            for protein, score in zip(chunk, scores, strict=True):
                totals.add(protein.accession, score)
    return totals, counts


def _columns(
    proteins: list[Protein], scores: list[SequenceScore], method: Method
) -> dict[str, list[object]]:
    likelihood, perplexity = NAMES[method]
    return {
        "accession": [each.accession for each in proteins],
        "residues": [each.residues for each in scores],
        likelihood: [each.log_likelihood for each in scores],
        perplexity: [each.perplexity for each in scores],
        "accuracy": [each.accuracy for each in scores],
    }
