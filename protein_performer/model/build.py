"""A model's config to the model: the same road for training and for loading."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.identity import Values
from protein_performer.attention.linformer import Linformer, RandomLinformer
from protein_performer.attention.local_global import LocalGlobal
from protein_performer.attention.protocol import MakeAttention
from protein_performer.attention.reformer.reformer import Reformer
from protein_performer.attention.sliding_window import SlidingWindow
from protein_performer.attention.softmax import Softmax
from protein_performer.model.config import AttentionConfig, ModelConfig
from protein_performer.model.transformer import ProteinTransformer
from protein_performer.registry import Registry, check_options

MECHANISMS = Registry(
    "attention mechanism",
    [Favor, Softmax, SlidingWindow, LocalGlobal, Reformer, Linformer, RandomLinformer, Values],
    base=nn.Module,
)


def build_model(
    config: ModelConfig, vocabulary_size: int, *, trusted_packages: Sequence[str] = ()
) -> ProteinTransformer:
    """Build the model that a config describes.

    Args:
        config: trunk and attention.
        vocabulary_size: V.
        trusted_packages: of the user's own, whose mechanisms the config may name beside ours; see
            `Registry.find`.

    Raises: UserError, with the config key, for a mechanism or an option that does not exist, and
        for what a mechanism cannot do.
    """
    attention = _attention_maker(config.attention, trusted_packages)
    return ProteinTransformer(vocabulary_size, attention, config.trunk)


def _attention_maker(config: AttentionConfig, trusted_packages: Sequence[str]) -> MakeAttention:
    mechanism = MECHANISMS.find("model.attention", config.target, trusted_packages)
    check_options("model.attention", mechanism, None, **config.options)
    return partial(mechanism, **config.options)
