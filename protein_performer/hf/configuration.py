"""A model's config in the form of `transformers`."""

from typing import Any

from transformers import PretrainedConfig


class ProteinPerformerConfig(PretrainedConfig):
    """What `config.json` of an exported folder holds.

    Args:
        network: the `model` part of a run's config (`ModelConfig.to_plain`): trunk and attention.
        training: what a checkpoint holds beside its network: alphabet, residue policy, objective,
            residue counts, step (`inference.exported`). No model of `transformers` reads it.
        vocab_size: V.
        pad_token_id, bos_token_id, eos_token_id: codes of the alphabet.
        options: of `transformers`.
    """

    model_type = "protein-performer"

    def __init__(
        self,
        network: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        vocab_size: int = 30,
        pad_token_id: int = 0,
        bos_token_id: int = 1,
        eos_token_id: int = 2,
        **options: Any,
    ) -> None:
        # Where the network shares weights (a tied head, Linformer's layers), it always does.
        options["tie_word_embeddings"] = True
        super().__init__(**options)
        self.network = network
        self.training = training
        self.vocab_size = vocab_size
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id

    @property
    def hidden_size(self) -> int:
        """E."""
        return self._of_network("d_model")

    @property
    def num_hidden_layers(self) -> int:
        """Blocks."""
        return self._of_network("num_layers")

    @property
    def num_attention_heads(self) -> int:
        """H."""
        return self._of_network("num_heads")

    def _of_network(self, key: str) -> int:
        # `transformers` looks for these in a config without arguments, too.
        return int((self.network or {}).get(key, 0))
