"""Embeddings of whole files of proteins, to a file; a killed run goes on where it was.

Proteins are embedded in chunks, each kept as a part (`embedding_parts`) until all are there; then
the parts are written as one file (`embedding_files`). Several processes share the chunks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from protein_performer.addresses import is_address
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.embedding.embedding import embed_codes
from protein_performer.inference.embedding.embedding_files import (
    check_output,
    stored_manifest,
    write_embeddings,
)
from protein_performer.inference.embedding.embedding_parts import (
    Embeddings,
    Part,
    PartsFolder,
    content_of,
)
from protein_performer.inference.embedding.embedding_plan import (
    EmbeddingCounts,
    EmbeddingOptions,
    check_options,
    longest,
    make_manifest,
    make_plan,
    policy_of,
    vector_names,
)
from protein_performer.inference.embedding.ranks import Rank
from protein_performer.inference.encoded_proteins import (
    Protein,
    can_be_read_twice,
    in_chunks,
    read_proteins,
)

# Called after each chunk with what was done so far, and all proteins if their number is known.
OnProgress = Callable[[EmbeddingCounts, int | None], None]


def embed_files(
    model: BatchedModel,
    sources: Sequence[str],
    out: Path,
    options: EmbeddingOptions | None = None,
    *,
    overwrite: bool = False,
    rank: Rank | None = None,
    finish: bool = True,
    on_progress: OnProgress = lambda counts, total: None,
) -> EmbeddingCounts:
    """Embed every protein of the sources, in their order.

    Args:
        model: a loaded checkpoint.
        sources: what `read_records` takes.
        out: the file to write; its suffix says the format (`embedding_files`).
        options: see there.
        overwrite: replace the file, if there is one. What a killed run had begun is gone on with,
            unless `remove_parts` removes it first.
        rank: of this process among those that share the work.
        finish: write the file when all parts are there.
        on_progress: see `OnProgress`.

    Raises: UserError, before anything is computed where the sources can be read twice: for a model
        of text, options that cannot be, an existing `out`, a source that cannot be read, a
        character that the policy refuses and a protein that is longer than the model can read.
    """
    options, rank = options or EmbeddingOptions(), rank or Rank()
    model.check_reads_proteins()
    several = finish and rank.num_ranks > 1
    check_output(out, options.layout, overwrite=overwrite or several)
    check_options(options, model)
    if rank.num_ranks > 1:
        _check_shared(sources)
    plan = make_plan(model, sources, options)
    if several:
        written = _written_by_others(out, plan, model, sources, options)
        if written is not None:
            return written
        check_output(out, options.layout, overwrite=overwrite)
    total = None
    if can_be_read_twice(sources):
        total = sum(1 for _ in _proteins(model, sources, options, EmbeddingCounts()))
    folder, counts = PartsFolder(out, plan), EmbeddingCounts()
    proteins = _proteins(model, sources, options, counts)
    try:
        number = -1
        for number, chunk in enumerate(in_chunks(proteins)):
            _embed_share(folder, number, chunk, model, options, rank, counts)
            on_progress(counts, total)
        if finish and folder.count() > number:
            _finish_once(folder, number + 1, model, options, counts, out)
    except FileNotFoundError:  # the parts, where another rank found all of them and wrote OUT
        written = _written_by_others(out, plan, model, sources, options)
        if folder.path.exists() or written is None:
            raise
        return written
    return counts


def _embed_share(
    folder: PartsFolder,
    number: int,
    chunk: list[Protein],
    model: BatchedModel,
    options: EmbeddingOptions,
    rank: Rank,
    counts: EmbeddingCounts,
) -> None:
    """Embed a chunk if it is this rank's, and not done."""
    if folder.has(number, chunk):
        counts.reused += len(chunk)
    elif number % rank.num_ranks == rank.rank:
        folder.write(number, chunk, _embed_chunk(model, chunk, options))


def _check_shared(sources: Sequence[str]) -> None:
    """Raise UserError for what only one process can read."""
    for source in sources:
        if not is_address(source) and not can_be_read_twice([source]):
            raise UserError(
                f"{source}: several processes share the work, and one only can read this. Give a"
                " file that all of them see, or embed with one process."
            )


def _written_by_others(
    out: Path,
    plan: Mapping[str, Any],
    model: BatchedModel,
    sources: Sequence[str],
    options: EmbeddingOptions,
) -> EmbeddingCounts | None:
    """What was read, if `out` is what this command writes: of the same plan and proteins, all done.

    A rank that comes late, and whose share an earlier, killed run had done, finds the work ended.
    """
    manifest = stored_manifest(out) if out.is_file() else None
    if manifest is None or manifest.get("counts", {}).get("failed") != 0:
        return None
    if any(manifest.get(key) != value for key, value in plan.items()):
        return None
    counts = EmbeddingCounts()
    counts.reused = sum(1 for _ in _proteins(model, sources, options, counts))
    return counts if manifest.get("proteins_blake2b") == counts.content.hexdigest() else None


def _proteins(
    model: BatchedModel, sources: Sequence[str], options: EmbeddingOptions, counts: EmbeddingCounts
) -> Iterator[Protein]:
    """The proteins, cut where that is asked for, and all of it counted."""
    asked = options.truncate or options.window
    policy, limit = policy_of(model, options), None if asked else longest(model)
    for protein in read_proteins(sources, model.alphabet, policy, counts, longest=limit):
        beyond = len(protein.codes) - (options.truncate or len(protein.codes))
        if beyond > 0:
            counts.truncated += 1
            counts.truncated_residues += beyond
            protein = protein._replace(codes=protein.codes[: options.truncate])
        if options.window is not None and len(protein.codes) > options.window:
            counts.windowed += 1
        counts.content.update(content_of(protein))
        yield protein


def _embed_chunk(model: BatchedModel, chunk: list[Protein], options: EmbeddingOptions) -> Part:
    """The part of a chunk; what does not fit into memory or is not finite is listed as failed."""
    failed: dict[int, str] = {}
    results = embed_codes(
        model,
        [protein.codes for protein in chunk],
        options.pooling,
        options.layers,
        window=options.window,
        on_failure=lambda i: failed.update({i: "does not fit into memory"}),
    )
    vectors: list[list[np.ndarray[Any, Any]]] = []
    for i, result in enumerate(results):
        if result is None:
            continue
        with np.errstate(over="ignore"):  # is infinite, and found so below
            arrays = [each.numpy().astype(options.dtype, copy=False) for each in result]
        if all(np.isfinite(each).all() for each in arrays):
            vectors.append(arrays)
        else:
            failed[i] = f"its embedding is not finite in {options.dtype}"
    kept = [protein for i, protein in enumerate(chunk) if i not in failed]
    join = np.concatenate if options.pooling == "residue" else np.stack
    names = vector_names(options, len(model.network.blocks))
    empty = np.empty((0, model.width), options.dtype)
    return Part(
        [protein.accession for protein in kept],
        np.array([len(protein.codes) for protein in kept], np.int64),
        {
            name: join([arrays[layer] for arrays in vectors]) if vectors else empty
            for layer, name in enumerate(names)
        },
        [
            {"accession": chunk[i].accession, "residues": len(chunk[i].codes), "reason": reason}
            for i, reason in sorted(failed.items())
        ],
    )


def _finish_once(
    folder: PartsFolder,
    number_of_parts: int,
    model: BatchedModel,
    options: EmbeddingOptions,
    counts: EmbeddingCounts,
    out: Path,
) -> None:
    """Of several processes that find all parts there, the first one writes the file."""
    try:
        with FileLock(folder.path / "lock", timeout=0):
            if folder.path.is_dir():
                _finish(folder, number_of_parts, model, options, counts, out)
    except (Timeout, FileNotFoundError):  # another one writes it, or has written it
        return


def _finish(
    folder: PartsFolder,
    number_of_parts: int,
    model: BatchedModel,
    options: EmbeddingOptions,
    counts: EmbeddingCounts,
    out: Path,
) -> None:
    """Write all parts as one file, and remove them."""
    proteins = rows = name_bytes = widest = 0
    for part in folder.read(number_of_parts):
        names = [len(name.encode()) for name in part.accessions]
        proteins += len(names)
        rows += int(part.lengths.sum()) if options.pooling == "residue" else len(names)
        name_bytes += sum(names)
        widest = max([widest, *names])
        counts.failed += part.failed
    if not proteins:
        folder.remove()
        reasons = sorted({each["reason"] for each in counts.failed})
        raise UserError(f"{out}: none of {counts.proteins:,} proteins: {'; '.join(reasons)}")
    embeddings = Embeddings(
        folder,
        number_of_parts,
        proteins,
        rows,
        name_bytes,
        widest,
        per_residue=options.pooling == "residue",
        width=model.width,
        names=vector_names(options, len(model.network.blocks)),
        dtype=options.dtype,
        manifest=make_manifest(folder.plan, model, counts),
    )
    write_embeddings(embeddings, out, options.layout)
    folder.remove()
    counts.written = True
