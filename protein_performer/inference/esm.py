"""ESM-2 as Hugging Face keeps it, read into our trunk: a folder of config.json and weights.

Shapes: V vocabulary, E model width.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.pretrained_folder import CONFIG_FILE, read_json, read_weights
from protein_performer.model.config import AttentionConfig, ModelConfig, TrunkConfig

TOKEN_DROPOUT = 0.15 * 0.8  # of ESM-2's training; its config says only whether
EXACT = "protein_performer.attention.softmax.Softmax"

# Of fairseq's dictionary, as all ESM-2 models have it (their vocab.txt).
_VOCABULARY = (
    *("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-"),
    *("<null_1>", "<mask>"),
)
# Ours -> theirs. They have no J, which their tokenizer reads as <unk>.
_TOKENS = {"<bos>": "<cls>", "J": "<unk>"}
_OUTER = {
    "embedding.weight": "esm.embeddings.word_embeddings.weight",
    "norm.weight": "esm.encoder.emb_layer_norm_after.weight",
    "norm.bias": "esm.encoder.emb_layer_norm_after.bias",
    "head.dense.weight": "lm_head.dense.weight",
    "head.dense.bias": "lm_head.dense.bias",
    "head.norm.weight": "lm_head.layer_norm.weight",
    "head.norm.bias": "lm_head.layer_norm.bias",
    "head.decoder.bias": "lm_head.bias",
}
_OF_BLOCK = {
    "attention_norm": "attention.LayerNorm",
    "attention.output": "attention.output.dense",
    "mlp_norm": "LayerNorm",
    "mlp.inputs": "intermediate.dense",
    "mlp.output": "output.dense",
}
# Theirs that have no place: a head for contacts, a table of positions that rotary models carry, and
# frequencies that follow from the config.
_NO_PLACE = re.compile(
    r"esm\.(contact_head|pooler)\.|.*(position_embeddings|position_ids|inv_freq)|lm_head\.decoder\."
)


def is_esm(folder: Path) -> bool:
    """Whether it is a folder of an ESM model, as `save_pretrained` writes it."""
    path = folder / CONFIG_FILE
    return path.is_file() and read_json(path).get("model_type") == "esm"


def read_esm(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A model of the same logits, with exact attention, and its weights by our names.

    Rows of the embedding and of the head stand in the order of our alphabet.

    Raises: UserError for a model that this trunk cannot be: ESM-1 and ESM-1b (absolute positions, a
        norm before the first block), folding models; for weights that are missing.
    """
    config = read_json(folder / CONFIG_FILE)
    model_config = ModelConfig(_trunk(config, folder), AttentionConfig(EXACT), name="esm2")
    theirs = {_present_name(name): x for name, x in read_weights(folder).items()}
    try:
        weights = _renamed(theirs, model_config.trunk.num_layers)
        order = _token_order(folder, config)
        for name in ("embedding.weight", "head.decoder.bias"):
            weights[name] = weights[name][order]
    except KeyError as error:
        raise UserError(
            f"{folder}: expected the weights of an EsmForMaskedLM, found none of the name"
            f" {error}. Was only its trunk saved?"
        ) from None
    weights["head.decoder.weight"] = weights["embedding.weight"]
    return model_config, weights


def _trunk(config: Mapping[str, Any], folder: Path) -> TrunkConfig:
    expected = {
        "position_embedding_type": "rotary",
        "emb_layer_norm_before": False,
        "hidden_act": "gelu",
        "is_folding_model": False,
        "is_decoder": False,
        "tie_word_embeddings": True,
        "rope_theta": 10_000.0,
    }
    for key, value in expected.items():
        if (found := config.get(key)) is not None and found != value:
            raise UserError(
                f"{folder / CONFIG_FILE}: expected {key}={value}, as in ESM-2, got {found}: this"
                " trunk has no such model"
            )
    try:
        return TrunkConfig(
            d_model=config["hidden_size"],
            num_layers=config["num_hidden_layers"],
            num_heads=config["num_attention_heads"],
            d_ff=config["intermediate_size"],
            causal=False,
            bias=True,
            activation="gelu",
            head="two_layer",
            norm_epsilon=config.get("layer_norm_eps", 1e-12),
            token_dropout=TOKEN_DROPOUT if config.get("token_dropout") else None,
        )
    except KeyError as error:
        raise UserError(f"{folder / CONFIG_FILE}: there is no {error}") from None


def _token_order(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """(V,) for each of our tokens the row that it has in theirs."""
    path = folder / "vocab.txt"
    vocabulary = tuple(path.read_text().split()) if path.is_file() else _VOCABULARY
    if len(vocabulary) != config.get("vocab_size", len(vocabulary)):
        raise UserError(
            f"{folder}: expected {config['vocab_size']} tokens in vocab.txt, or ESM-2's"
            f" {len(_VOCABULARY)} without such a file; got {len(vocabulary)}"
        )
    rows = {token: row for row, token in enumerate(vocabulary)}
    tokens = (*Alphabet.specials, *Alphabet().letters)
    return [rows[_TOKENS.get(token, token)] for token in tokens]


def _renamed(theirs: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """By our names.

    Raises: KeyError for a weight that is missing, UserError for one that has no place.
    """
    taken: set[str] = set()

    def take(name: str) -> Tensor:
        taken.add(name)
        return theirs[name]

    ours = {name: take(other) for name, other in _OUTER.items()}
    for layer in range(num_layers):
        block, other = f"blocks.{layer}", f"esm.encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            projections = (f"{other}.attention.self.{x}.{kind}" for x in ("query", "key", "value"))
            ours[f"{block}.attention.inputs.{kind}"] = torch.cat([take(x) for x in projections])
            for name, place in _OF_BLOCK.items():
                ours[f"{block}.{name}.{kind}"] = take(f"{other}.{place}.{kind}")
    left = [name for name in theirs if name not in taken and not _NO_PLACE.match(name)]
    if left:
        raise UserError(f"ESM-2: {len(left)} weights have no place, such as {left[0]}")
    return ours


def _present_name(name: str) -> str:
    """Norms were called otherwise once, and some files still call them so."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )
