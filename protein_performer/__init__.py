"""Linear-time protein language models: train, compare and use them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protein_performer.inference.trained_model import TrainedModel, load

__all__ = ["TrainedModel", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `import protein_performer.data` alone does not load torch.
    if name in __all__:
        from protein_performer.inference import trained_model

        return getattr(trained_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
