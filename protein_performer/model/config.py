"""What a model is, in plain types: what building, checkpoints and export share.

The alphabet is kept apart: a model knows how many tokens there are, not what they stand for.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from protein_performer.errors import UserError

Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Residual = Literal["plain", "reversible"]
Activation = Literal["gelu_tanh", "gelu"]
HeadKind = Literal["linear", "tied", "two_layer"]

# Beside the trunk's options in a run's config, and read by others: the optimizer's schedule of
# redrawing, the number of features that a mechanism's option refers to, and how blocks are run.
_READ_BY_OTHERS = ("redraw_every", "num_features", "compile")


@dataclass(frozen=True)
class TrunkConfig:
    """All of a model but its vocabulary and its attention mechanism.

    Attributes:
        d_model, num_layers, num_heads, d_ff: E, blocks, H, and the inner width of the MLPs.
        causal: row i of the output depends on tokens 0..i only.
        positions: rotary turns queries and keys in each layer; learned and sinusoidal are added
            to the embedding; none leaves order to the causal mask, if anything.
        max_length: of the table of learned positions, in tokens; null with any other kind.
        residual: plain, or reversible (two streams: `reversible.reversible`), which computes each
            block once more in the backward pass to keep the activations of one only.
        convolution: width of a short convolution in front of each attention; null for none, as in
            the paper.
        dropout: after the embedding, inside the MLP and before each residual sum. There is no
            dropout of attention weights: linear attention has no weights to drop, and mechanisms
            are compared on the same trunk.
        seed: of random features and hash rotations, not of the initial weights.
        bias: of the projections to queries, keys, values and of the one behind attention. False
            as in the Performer authors' protein models, True as in ESM-2.
        activation: of the MLPs: GELU exactly, or by its tanh approximation.
        head: see `head.make_head`.
        norm_epsilon: of all layer norms.
        token_dropout: see `token_dropout.drop_masked`; null for a `<mask>` that is a token like
            any other. Bidirectional only: it counts the row's masked tokens.
    """

    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int
    causal: bool
    positions: Positions = "rotary"
    max_length: int | None = None
    residual: Residual = "plain"
    convolution: int | None = None
    dropout: float = 0.0
    seed: int = 0
    bias: bool = False
    activation: Activation = "gelu_tanh"
    head: HeadKind = "linear"
    norm_epsilon: float = 1e-5
    token_dropout: float | None = None

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(TrunkConfig).items():
            _check_type(f"model.{name}", getattr(self, name), kind)
        for name in ("d_model", "num_layers", "num_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout: expected 0 <= dropout < 1, got {self.dropout}")
        if self.token_dropout is not None and (self.causal or not 0 <= self.token_dropout < 1):
            raise UserError(
                "model.token_dropout: expected null, or a share below 1 in a bidirectional model;"
                f" got {self.token_dropout} with causal={self.causal}"
            )
        if self.norm_epsilon <= 0:
            raise UserError(f"model.norm_epsilon: expected more than 0, got {self.norm_epsilon}")
        if self.d_model % self.num_heads:
            raise UserError(
                f"model: d_model must be divisible by num_heads; got d_model={self.d_model},"
                f" num_heads={self.num_heads}"
            )
        if (self.positions == "learned") != (self.max_length is not None):
            raise UserError(
                "model.max_length is the table size of positions=learned: set it with that kind and"
                f" leave it null with any other; got positions={self.positions},"
                f" max_length={self.max_length}"
            )

    @property
    def head_dim(self) -> int:
        """D, the width of an attention head."""
        return self.d_model // self.num_heads


@dataclass(frozen=True)
class AttentionConfig:
    """A mechanism by the full name of its class, and the class's options."""

    target: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class ModelConfig:
    """A model but for its vocabulary.

    Attributes:
        name: what tables call it.
    """

    trunk: TrunkConfig
    attention: AttentionConfig
    name: str = "model"

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a row, special ones included; None if there is no limit.

        Positions or a mechanism may have one; both call it `max_length`.
        """
        limits = (self.trunk.max_length, self.attention.options.get("max_length"))
        return min((limit for limit in limits if limit is not None), default=None)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ModelConfig":
        """Read the `model` part of a run's config.

        Args:
            plain: `attention` (`_target_` and its options), the trunk's options by their names in
                `TrunkConfig`, `name`, and what others read there.

        Raises: UserError, with the config key, for an option that is missing, unknown, or of a
            type or value that it cannot have.
        """
        options = {key: value for key, value in plain.items() if key not in _READ_BY_OTHERS}
        name = str(options.pop("name", cls.name))
        attention = _attention(options.pop("attention", None))
        known = {each.name: each.default is MISSING for each in fields(TrunkConfig)}
        wrong = sorted(set(options) - set(known))
        missing = [key for key, required in known.items() if required and key not in options]
        if wrong or missing:
            raise UserError(
                f"model: {'there is no option' if wrong else 'there must be'}"
                f" {', '.join(wrong or missing)}. The options are: attention, {', '.join(known)}"
            )
        return cls(TrunkConfig(**options), attention, name)

    def to_plain(self) -> dict[str, Any]:
        """Plain types, of which `from_plain` makes an equal config."""
        attention = {"_target_": self.attention.target, **self.attention.options}
        return {"name": self.name, "attention": attention, **asdict(self.trunk)}


def _attention(plain: Any) -> AttentionConfig:
    if not isinstance(plain, Mapping) or not isinstance(plain.get("_target_"), str):
        raise UserError(
            "model.attention: expected _target_, the full name of a mechanism's class, and its"
            f" options; got {plain!r}"
        )
    options = {name: value for name, value in plain.items() if name != "_target_"}
    return AttentionConfig(plain["_target_"], options)


def _check_type(key: str, value: Any, kind: Any) -> None:
    """Raise UserError unless the value is of the annotated type; an int will do for a float."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            raise UserError(f"{key}: expected one of {', '.join(choices)}, got {value!r}")
        return
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    accepted = (*kinds, int) if float in kinds else kinds
    if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, accepted):
        names = " or ".join("null" if each is NoneType else each.__name__ for each in kinds)
        raise UserError(f"{key}: expected {names}, got {value!r}")
