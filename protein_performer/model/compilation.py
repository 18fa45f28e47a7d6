"""A model's blocks through `torch.compile`: fewer passes over memory, for a compiler and a wait."""

import os
import shutil

from protein_performer.errors import UserError
from protein_performer.model.transformer import ProteinTransformer


def compile_blocks(model: ProteinTransformer, backend: str = "inductor") -> None:
    """Compile each block in place, at its first call; weights and their names stay.

    Blocks are alike, so that one is compiled for all; for any batch and length, since both change
    from batch to batch.

    Args:
        model: with plain residuals; a reversible trunk calls the halves of its blocks.
        backend: of `torch.compile`. The default writes C++ (a GPU: Triton) and needs a compiler.

    Raises: UserError for a reversible trunk, and where there is no compiler.
    """
    if model.trunk.residual != "plain":
        raise UserError(
            f"model.compile: expected model.residual=plain, got {model.trunk.residual}, whose"
            " blocks run in halves. Set model.compile=false."
        )
    if backend == "inductor" and not _has_compiler():
        raise UserError(
            "model.compile: expected a C++ compiler (what CXX names, g++ or clang++), found none."
            " Install one, or set model.compile=false."
        )
    for block in model.blocks:
        block.compile(backend=backend, dynamic=True)


def _has_compiler() -> bool:
    named = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    return any(shutil.which(name) for name in named)
