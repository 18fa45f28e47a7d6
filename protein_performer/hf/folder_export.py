"""A checkpoint to a folder that `transformers` loads, with this package or without it."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerFast

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.hf.configuration import ProteinPerformerConfig
from protein_performer.hf.model_card import model_card
from protein_performer.hf.modeling import (
    ProteinPerformerForCausalLM,
    ProteinPerformerForMaskedLM,
    ProteinPerformerPreTrainedModel,
)
from protein_performer.hf.residue_tokenizer import make_tokenizer
from protein_performer.hf.source_bundle import bundled_sources
from protein_performer.inference.checkpoint import Checkpoint
from protein_performer.inference.format import FORMAT
from protein_performer.inference.pretrained_folder import CONFIG_FILE
from protein_performer.model.build import MECHANISMS


def export_checkpoint(
    checkpoint: Checkpoint, folder: str | Path, *, metrics: Mapping[str, Any] | None = None
) -> list[str]:
    """Write config, weights, tokenizer, model card and source.

    The folder appears whole or not at all.

    Args:
        checkpoint: loaded.
        folder: must not exist, or be empty.
        metrics: of the run's `metrics.json`, for the card.

    Returns: the names of the files.
    Raises: UserError for a folder in use, and for a mechanism of a package of the user's own, whose
        code cannot be copied along.
    """
    folder = Path(folder)
    target = checkpoint.model_config.attention.target
    if target not in MECHANISMS.classes:
        raise UserError(
            f"export: expected a mechanism of this package, got {target!r}: its code cannot be"
            " copied beside the weights"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: it exists and is not empty. Remove it, or choose another name.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)  # a temporary folder is for its owner alone
        _write(checkpoint, partial, metrics)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return sorted(each.name for each in folder.iterdir())


def as_pretrained(checkpoint: Checkpoint) -> ProteinPerformerPreTrainedModel:
    """The checkpoint's network as a model of `transformers`; they share the weights' memory."""
    causal = checkpoint.model.causal
    config = ProteinPerformerConfig(
        network=checkpoint.model_config.to_plain(),
        training=_training(checkpoint),
        vocab_size=len(checkpoint.alphabet),
        pad_token_id=checkpoint.alphabet.pad,
        bos_token_id=checkpoint.alphabet.bos,
        eos_token_id=checkpoint.alphabet.eos,
    )
    make = ProteinPerformerForCausalLM if causal else ProteinPerformerForMaskedLM
    model: ProteinPerformerPreTrainedModel = make(config)
    model.network = checkpoint.model
    model.eval()
    return model


def tokenizer_of(checkpoint: Checkpoint) -> PreTrainedTokenizerFast:
    """See `make_tokenizer`."""
    return make_tokenizer(
        checkpoint.alphabet,
        checkpoint.residue_policy,
        causal=checkpoint.model.causal,
        max_tokens=checkpoint.model_config.max_tokens,
    )


def _write(checkpoint: Checkpoint, folder: Path, metrics: Mapping[str, Any] | None) -> None:
    model = as_pretrained(checkpoint)
    if model.causal:
        model.generation_config = _generation(checkpoint)
    model.save_pretrained(folder)
    tokenizer_of(checkpoint).save_pretrained(folder)
    _name_classes(folder / CONFIG_FILE, type(model).__name__, causal=checkpoint.model.causal)
    for name, text in bundled_sources().items():
        (folder / name).write_text(text, encoding="utf-8")
    card = model_card(checkpoint, metrics)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _training(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `inference.exported` reads back.

    Of the run's config only what using a model asks for: such a folder is often given away, and
    paths and names of the machine that trained are nobody's business.
    """
    objective = checkpoint.config["objective"]
    return {
        "format": FORMAT,
        "version": version("protein-performer"),
        "alphabet": checkpoint.alphabet.plain(),
        "residue_policy": checkpoint.residue_policy,
        "residue_counts": list(checkpoint.residue_counts),
        "objective": {key: objective[key] for key in ("name", "task")},
        "max_length": checkpoint.config["data"]["max_length"],
        "step": checkpoint.step,
    }


def _name_classes(path: Path, language_model: str, *, causal: bool) -> None:
    """Where `trust_remote_code=True` finds the classes: in the files beside the config."""
    config = json.loads(path.read_text(encoding="utf-8"))
    auto = "AutoModelForCausalLM" if causal else "AutoModelForMaskedLM"
    config["auto_map"] = {
        "AutoConfig": "configuration.ProteinPerformerConfig",
        "AutoModel": "modeling.ProteinPerformerModel",
        auto: f"modeling.{language_model}",
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _generation(checkpoint: Checkpoint) -> GenerationConfig:
    """As `protein-performer generate` draws: from the model's own distribution, standard letters.

    `generate` of transformers would by default take the likeliest token each time.
    """
    alphabet: Alphabet = checkpoint.alphabet
    drawn = {*alphabet.standard_codes, alphabet.eos}
    return GenerationConfig(
        do_sample=True,
        top_k=0,
        pad_token_id=alphabet.pad,
        bos_token_id=alphabet.bos,
        eos_token_id=alphabet.eos,
        suppress_tokens=[code for code in range(len(alphabet)) if code not in drawn],
        use_cache=checkpoint.model.keeps_state,
    )
