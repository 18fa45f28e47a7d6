"""Linear-time protein language models: train, compare and use them."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protein_performer.inference.generation.sampling import Sampling
    from protein_performer.inference.trained_model import TrainedModel, load

__version__ = version("protein-performer")
__all__ = ["Sampling", "TrainedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `import protein_performer.data` alone does not load torch.
    if name in ("Sampling", "TrainedModel", "load"):
        from protein_performer.inference import trained_model

        return getattr(trained_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
