"""What is embedded and how: options, what was counted, and both stated in the output.

Shapes: E model width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

from protein_performer.addresses import public_address
from protein_performer.alphabet import ResiduePolicy
from protein_performer.data.shards import file_sha256
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel, aligned
from protein_performer.inference.embedding.embedding import LAST
from protein_performer.inference.embedding.embedding_files import Layout
from protein_performer.inference.embedding.pooling import Pooling, check_pooling
from protein_performer.inference.encoded_proteins import SourceCounts

_LISTED = 100  # failures that the manifest names


@dataclass(frozen=True)
class EmbeddingOptions:
    """What is embedded, and how it is written.

    Attributes:
        pooling: see `pooling.pool`.
        layers: see `ProteinTransformer.hidden_layers`. Of several, the vectors of layer i are
            called `embedding_i`, of one `embedding`.
        dtype: of the vectors, float32 or float16.
        residue_policy: of characters outside the alphabet; None for the training's, `skip` of which
            becomes `unknown`, so that rows stay aligned.
        truncate: read the first so many residues only.
        window: read longer proteins in windows of so many residues.
        layout: of HDF5 files.
    """

    pooling: Pooling = "mean"
    layers: tuple[int, ...] = LAST
    dtype: str = "float32"
    residue_policy: ResiduePolicy | None = None
    truncate: int | None = None
    window: int | None = None
    layout: Layout = "matrix"


@dataclass
class EmbeddingCounts(SourceCounts):
    """What was read, and what became of it.

    Attributes:
        truncated, truncated_residues: proteins of which only the start was read, and what was not.
        windowed: proteins that were read in windows.
        failed: proteins without an embedding: `accession`, `residues`, `reason`.
        reused: proteins that an earlier, killed run had embedded.
        written: whether this process has written the output, which one of several does.
        content: a digest of the names and residues that were handed on, in their order.
    """

    truncated: int = 0
    truncated_residues: int = 0
    windowed: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    reused: int = 0
    written: bool = False
    content: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def changes(self) -> Iterator[str]:
        """What was asked for and changes proteins."""
        if self.truncated:
            yield f"{self.truncated:,} proteins cut, {self.truncated_residues:,} residues not read"
        if self.windowed:
            yield f"{self.windowed:,} proteins read in overlapping windows, averaged where they do"


def check_options(options: EmbeddingOptions, model: BatchedModel) -> None:
    """Raise UserError for what cannot be done with this model."""
    check_pooling(options.pooling, model.network.causal)
    model.network.check_layers(options.layers)
    depth = len(model.network.blocks)
    if len({layer % (depth + 1) for layer in options.layers}) < max(1, len(options.layers)):
        raise UserError(f"layers: expected different ones, got {options.layers}")
    if options.dtype not in ("float32", "float16"):
        raise UserError(f"dtype: expected float32 or float16, got {options.dtype!r}")
    limit = longest(model)
    for name, residues in (("truncate", options.truncate), ("window", options.window)):
        if residues is not None and not 1 <= residues <= (limit or residues):
            raise UserError(
                f"{name}: expected at least 1{f' and at most {limit}' if limit else ''} residues,"
                f" got {residues}"
            )


def longest(model: BatchedModel) -> int | None:
    """The most residues that the model can read; None without a limit."""
    tokens = model.checkpoint.model_config.max_tokens
    return None if tokens is None else tokens - (1 if model.network.causal else 2)


def policy_of(model: BatchedModel, options: EmbeddingOptions) -> ResiduePolicy:
    """The policy of characters outside the alphabet; see `EmbeddingOptions`."""
    return options.residue_policy or aligned(model.checkpoint.residue_policy)


def vector_names(options: EmbeddingOptions, depth: int) -> list[str]:
    """What the vectors of each layer are called, in a model of so many blocks."""
    if len(options.layers) == 1:
        return ["embedding"]
    return [f"embedding_{layer % (depth + 1)}" for layer in options.layers]


def make_plan(
    model: BatchedModel, sources: Sequence[str], options: EmbeddingOptions
) -> dict[str, Any]:
    """What the parts depend on: a run goes on from parts of an equal plan only."""
    chosen = asdict(options)
    del chosen["layout"]
    return {
        **chosen,
        "layers": list(options.layers),
        "residue_policy": policy_of(model, options),
        "precision": model.precision,
        "checkpoint_sha256": file_sha256(model.checkpoint.path),
        "sources": [public_address(source) for source in sources],
    }


def make_manifest(
    plan: Mapping[str, Any], model: BatchedModel, counts: EmbeddingCounts
) -> dict[str, Any]:
    """What the output states of itself, in plain types."""
    checkpoint = model.checkpoint
    return {
        "program": f"protein-performer {version('protein-performer')}",
        **plan,
        "checkpoint": str(checkpoint.path),
        "step": checkpoint.step,
        "objective": checkpoint.objective,
        "model": checkpoint.model_config.name,
        "config": checkpoint.config,
        "proteins_blake2b": counts.content.hexdigest(),
        "counts": {
            "proteins": counts.proteins,
            "residues": counts.residues,
            "failed": len(counts.failed),
            "truncated": counts.truncated,
            "truncated_residues": counts.truncated_residues,
            "windowed": counts.windowed,
            "empty": counts.reading.empty,
            "unknown_characters": counts.letters.unknown,
            "skipped_characters": counts.letters.skipped,
        },
        "failed": counts.failed[:_LISTED],
    }
