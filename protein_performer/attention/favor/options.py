"""Which options of FAVOR+ go together: what cannot be honoured is refused, with the reason."""

from dataclasses import dataclass
from typing import Literal

from protein_performer.attention.favor.features import FEATURE_MAPS, SOFTMAX_KERNELS
from protein_performer.attention.favor.projections import PROJECTIONS
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError


@dataclass(frozen=True)
class FavorOptions:
    """The options of `favor.Favor`, which documents them."""

    feature_map: str
    num_features: int | None
    projection: str | None
    row_norms: Literal["chi", "sqrt_d"]
    per_head: bool
    normalize: bool
    epsilon: float | None
    spread: float | None
    saderf: bool

    def check(self, spec: LayerSpec) -> None:
        """Raise UserError for the first option that does not fit the others or the layer."""
        _one_of("feature_map", self.feature_map, tuple(FEATURE_MAPS))
        _one_of("projection", self.projection, (None, *PROJECTIONS))
        _one_of("row_norms", self.row_norms, ("chi", "sqrt_d"))
        for refused, reason in (*self._of_projection(), *self._of_map(spec.causal)):
            if refused:
                raise UserError(reason)

    def _of_projection(self) -> tuple[tuple[bool, str], ...]:
        name, none = self.feature_map, self.projection is None
        size = self.num_features
        return (
            (
                none != (size is None) or (size is not None and size < 1),
                "num_features: expected a positive number with a projection, and null without;"
                f" got num_features={size} with projection={self.projection}",
            ),
            (
                none and name in SOFTMAX_KERNELS,
                f"projection=null: {name} features need random directions; try orthogonal",
            ),
            (
                none and self.row_norms != "chi",
                f"row_norms={self.row_norms}: without a projection there are no rows",
            ),
            (none and self.per_head, "per_head=true: without a projection all heads are alike"),
            (
                name == "favor++" and self.row_norms != "chi",
                "row_norms=sqrt_d: the variance that favor++ minimises is that of chi norms",
            ),
        )

    def _of_map(self, causal: bool) -> tuple[tuple[bool, str], ...]:
        name = self.feature_map
        return (
            (
                self.epsilon is not None and self.epsilon < 0,
                f"epsilon: expected null or a number from 0 on, got {self.epsilon}",
            ),
            (
                self.spread is not None and name != "favor++",
                f"spread={self.spread}: only feature_map=favor++ adapts to it, not {name}",
            ),
            (
                self.spread is not None and self.spread < 0,
                f"spread: expected null or a mean square, from 0 on, got {self.spread}",
            ),
            (
                self.spread is None and name == "favor++" and causal,
                "spread=null: favor++ would measure it over the whole sequence, of which a causal"
                " layer must not see the future. Give a number: 2 sqrt(D) is that of q and k of"
                " unit variance",
            ),
            (
                self.saderf and name not in SOFTMAX_KERNELS,
                f"saderf=true: it keeps q.k, which the kernel of {name} is no function of",
            ),
            (
                self.saderf and causal,
                "saderf=true: it balances q and k over the whole sequence, of which a causal layer"
                " must not see the future",
            ),
        )


def _one_of(option: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = ", ".join("null" if choice is None else choice for choice in choices)
        raise UserError(f"{option}: expected one of {names}; got {value!r}")
