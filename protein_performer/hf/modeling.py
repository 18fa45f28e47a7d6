"""The networks of this package as models of `transformers`.

Logits are those of the network itself, and stand where transformers' own models have them: of a
masked model column i scores token i of the input, of a causal one it scores token i + 1.

Shapes: B batch, L columns of tokens, E model width, V vocabulary.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutputWithPast,
    MaskedLMOutput,
)
from transformers.utils.generic import can_return_tuple

from protein_performer.errors import UserError
from protein_performer.hf.configuration import ProteinPerformerConfig
from protein_performer.hf.running_state import STATE_KEY, RunningState
from protein_performer.model.build import MECHANISMS, build_model
from protein_performer.model.config import ModelConfig
from protein_performer.model.positions import Frequencies
from protein_performer.model.transformer import ProteinTransformer

_PASSED_ON = {"num_items_in_batch"}  # to the loss, by the Trainer
_WITHOUT_EFFECT = {"return_dict", "use_cache", "logits_to_keep", "output_attentions"}


class ProteinPerformerPreTrainedModel(PreTrainedModel):
    """A network, loaded and saved by `transformers`.

    Raises: UserError for a config that names no mechanism of ours, or cannot be.
    """

    config_class = ProteinPerformerConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _no_split_modules: ClassVar[list[str]] = ["Block"]
    causal: ClassVar[bool | None] = None  # which networks this class is for; None for both
    has_head: ClassVar[bool] = True

    def __init__(self, config: ProteinPerformerConfig) -> None:
        super().__init__(config)
        self.network = _network(config)
        if self.causal is not None and self.causal != self.network.causal:
            name = "AutoModelForCausalLM" if self.network.causal else "AutoModelForMaskedLM"
            raise UserError(
                f"{type(self).__name__}: this model is {'' if self.network.causal else 'not '}"
                f"causal. Load it with {name}."
            )
        if not self.has_head:
            self.network.head = nn.Identity()
        # By the network's own constructor, unless a loader is to fill in values that are none yet.
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor._is_hf_initialized = not tensor.is_meta  # type: ignore[attr-defined]
        self._tied_weights_keys = _shared(self.network)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """(V, E)."""
        return self.network.embedding

    def _init_weights(self, module: nn.Module) -> None:
        """What a loaded folder does not hold: frequencies, and of an `AutoModel`'s the head."""
        if isinstance(module, Frequencies):
            module.reset_()
            return
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        lacking = [name for name, each in own if not getattr(each, "_is_hf_initialized", False)]
        if lacking and any(module is each for each in self.network.head.modules()):
            super()._init_weights(module)
        elif lacking:
            raise UserError(f"the weights of {module} are not in the folder: {', '.join(lacking)}")

    def _states(
        self, tokens: Tensor, mask: Tensor | None, every: bool | None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """The last hidden states, (B, L, E), and those of all layers if asked for."""
        if not (every or (every is None and self.config.output_hidden_states)):
            return self.network.hidden(tokens, mask), None
        layers = range(len(self.network.blocks) + 1)
        states = tuple(self.network.hidden_layers(tokens, mask, layers))
        return states[-1], states


class ProteinPerformerModel(ProteinPerformerPreTrainedModel):
    """Tokens to hidden states, without a head."""

    has_head = False
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^network\.head\."]

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> BaseModelOutput:
        """(B, L) int64 to (B, L, E), after the final layer norm.

        Args:
            input_ids: token codes.
            attention_mask: (B, L), 1 at tokens and 0 at padding, on either side; None says that
                `<pad>` is padding.
            output_hidden_states: of all layers, too; see `ProteinTransformer.hidden_layers`.
            others: `UserError` for what this model cannot honour.
        """
        _refuse(others)
        mask = _mask(input_ids, attention_mask, self.config.pad_token_id)
        last, states = self._states(input_ids, mask, output_hidden_states)
        return BaseModelOutput(last_hidden_state=last, hidden_states=states)


class ProteinPerformerForMaskedLM(ProteinPerformerPreTrainedModel):
    """Tokens to scores of every token at every place, from both sides."""

    causal = False

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> MaskedLMOutput:
        """(B, L) int64 to (B, L, V); column i scores token i. See `ProteinPerformerModel.forward`.

        Args:
            labels: (B, L) int64, the token at each selected place and -100 elsewhere.
        """
        _refuse(others)
        mask = _mask(input_ids, attention_mask, self.config.pad_token_id)
        last, states = self._states(input_ids, mask, output_hidden_states)
        logits = self.network.head(last)
        loss = _loss(self, logits, labels, others)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=states)


class ProteinPerformerForCausalLM(ProteinPerformerPreTrainedModel, GenerationMixin):
    """Tokens to scores of the next token, and new proteins by `generate`.

    `generate` goes on from the network's running state: with FAVOR+ in constant time and memory a
    residue. Mechanisms without a state (Reformer) read the whole sequence for each token.
    """

    causal = True

    def __init__(self, config: ProteinPerformerConfig) -> None:
        super().__init__(config)
        if self.generation_config is not None and not self.network.keeps_state:
            self.generation_config.use_cache = False

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the first step makes a `RunningState`

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        cache: RunningState | None = None,
        past_key_values: RunningState | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """(B, L) int64 to (B, L, V); column i scores token i + 1.

        Args:
            input_ids: token codes; those behind a state, if one is given.
            attention_mask: as of `ProteinPerformerModel.forward`; its last L columns are read.
            labels: (B, L) int64, the input's own tokens (transformers moves them by one), -100
                where nothing is scored.
            use_cache: return the state after these tokens.
            cache, past_key_values: a state to go on from, under either name.
            output_hidden_states: only without a state.
        """
        _refuse(others)
        mask = _mask(input_ids, attention_mask, self.config.pad_token_id)
        before = past_key_values if cache is None else cache
        after, states = None, None
        if use_cache or before is not None:
            if output_hidden_states:
                raise UserError("output_hidden_states: expected use_cache=False beside it")
            logits, after = self._step(input_ids, mask, before)
        else:
            last, states = self._states(input_ids, mask, output_hidden_states)
            logits = self.network.head(last)
        loss = _loss(self, logits, labels, others)
        kept: dict[str, Any] = {} if after is None else {STATE_KEY: after}
        return CausalLMOutputWithPast(loss=loss, logits=logits, hidden_states=states, **kept)

    def _step(
        self, tokens: Tensor, mask: Tensor | None, before: RunningState | None
    ) -> tuple[Tensor, RunningState]:
        state = self.network.init_state(len(tokens)) if before is None else before.state
        columns = tokens.shape[1] + (0 if before is None else before.columns)
        logits, state = self.network.step(tokens, state, mask)
        return logits, RunningState(state, columns)


def _network(config: ProteinPerformerConfig) -> ProteinTransformer:
    if config.network is None:
        raise UserError("config.json: expected network, the model part of a run's config")
    # The code may stand in another package, beside its weights: mechanisms go by their class.
    plain = dict(config.network)
    name = str(plain["attention"]["_target_"]).rpartition(".")[2]
    here = {each.__name__: target for target, each in MECHANISMS.classes.items()}
    if name not in here:
        raise UserError(f"network.attention: expected one of {', '.join(here)}, got {name!r}")
    plain["attention"] = {**plain["attention"], "_target_": here[name]}
    return build_model(ModelConfig.from_plain(plain), config.vocab_size)


def _shared(network: nn.Module) -> dict[str, str]:
    """Names of weights that are another one, with that one's name."""
    first: dict[int, str] = {}
    shared = {}
    for name, parameter in network.named_parameters(prefix="network", remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            shared[name] = known
    return shared


def _mask(tokens: Tensor, attention_mask: Tensor | None, pad: int) -> Tensor | None:
    """(B, L) bool, or None where there is no padding to be seen without waiting for a device."""
    if attention_mask is None:
        mask = tokens != pad
    elif attention_mask.dim() != 2:
        raise UserError(
            f"attention_mask: expected (batch, length), got shape {(*attention_mask.shape,)}"
        )
    else:
        mask = attention_mask[:, -tokens.shape[1] :].bool()
    return None if mask.device.type == "cpu" and bool(mask.all()) else mask


def _loss(
    model: PreTrainedModel, logits: Tensor, labels: Tensor | None, others: dict[str, Any]
) -> Tensor | None:
    """As transformers computes it for models of this name."""
    if labels is None:
        return None
    passed = {key: value for key, value in others.items() if key in _PASSED_ON}
    loss: Tensor = model.loss_function(
        logits=logits, labels=labels, vocab_size=model.config.vocab_size, **passed
    )
    return loss


def _refuse(others: dict[str, Any]) -> None:
    """Raise UserError for an argument that would be ignored."""
    if others.get("output_attentions"):
        raise UserError(
            "output_attentions: linear attention forms no matrices. protein_performer.load(FOLDER)"
            ".attention(sequence) computes what they would be."
        )
    unknown = [key for key, value in others.items() if value is not None]
    unknown = sorted(set(unknown) - _PASSED_ON - _WITHOUT_EFFECT)
    if unknown:
        raise UserError(f"expected input_ids, attention_mask and labels, got {', '.join(unknown)}")
