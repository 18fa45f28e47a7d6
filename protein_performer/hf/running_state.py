"""What `generate` hands from one step to the next: a model's state in the place of a KV cache."""

import inspect

from torch import Tensor
from transformers import GenerationMixin

from protein_performer.attention.protocol import selected
from protein_performer.model.transformer import ModelState

# What `generate` calls it: transformers 5 began with past_key_values and went on to cache.
_PARAMETERS = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
STATE_KEY = "cache" if "cache" in _PARAMETERS else "past_key_values"


class RunningState:
    """A causal model's state after some columns of tokens.

    With FAVOR+ its size does not grow. It is not changed by going on from it: each step returns a
    new one, so that several continuations may start from one.

    Args:
        state: of `ProteinTransformer.step`.
        columns: tokens of each row so far, padding included.
    """

    # What `generate` asks of a cache: it is neither compiled nor without a length.
    is_compileable = False
    is_linear = (False,)

    def __init__(self, state: ModelState, columns: int) -> None:
        self.state = state
        self.columns = columns

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns so far, the same for each layer."""
        return self.columns

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these rows, as beam search asks; in place."""
        self.state = selected(self.state, beam_idx.to(self.state.lengths.device))
