"""The README of an exported model: what it is, what it scored, how it is loaded."""

from collections.abc import Mapping
from typing import Any

from protein_performer.addresses import is_address, public_address
from protein_performer.inference.checkpoint import Checkpoint

_FIGURES = (
    ("accuracy", "accuracy"),
    ("perplexity", "perplexity"),
    ("baseline_perplexity", "perplexity of the empirical baseline"),
    ("ngram_perplexity", "perplexity of the best n-gram"),
)


def model_card(checkpoint: Checkpoint, metrics: Mapping[str, Any] | None) -> str:
    """Markdown, with the metadata in front that model hubs read.

    Args:
        checkpoint: of the weights.
        metrics: of the run's `metrics.json`; None if they are not known.
    """
    config, causal = checkpoint.model_config, checkpoint.model.causal
    weights = sum(each.numel() for each in checkpoint.model.parameters())
    unit = checkpoint.alphabet.unit
    objective = (
        f"the next {unit} from those before it"
        if causal
        else f"masked {unit}s from both sides ({checkpoint.objective})"
    )
    parts = [
        _FRONT.format(task="text-generation" if causal else "fill-mask"),
        f"# {config.name}\n\n"
        f"A language model of {'proteins' if unit == 'residue' else 'text'}: {objective}."
        f" {type(checkpoint.model.mechanisms[0]).__name__} attention, {config.trunk.num_layers}"
        f" layers of width {config.trunk.d_model}, {config.trunk.num_heads} heads, {weights:,}"
        f" weights, {checkpoint.step:,} optimizer steps of protein-performer.\n",
        "## Figures\n\n" + _figures(metrics),
        "## Data\n\n" + _data(checkpoint),
        "## Use\n\n" + (_CAUSAL if causal else _MASKED),
        _CODE,
        _limits(checkpoint) + "\n",
        _LICENCE,
    ]
    return "\n".join(parts)


def _figures(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "The run's figures were not beside the checkpoint.\n"
    rows = [
        f"| {split} | {name} | {metrics[f'{split}/{key}']:.4g} |"
        for split in ("test", "ood")
        for key, name in _FIGURES
        if isinstance(metrics.get(f"{split}/{key}"), int | float)
    ]
    if not rows:
        return "The run was not tested.\n"
    about = (
        "On proteins that training has not seen (`test`: drawn at random; `ood`: whole clusters"
        " held out), by the objective above.\n\n"
    )
    return about + "\n".join(["| split | figure | value |", "|---|---|---|", *rows]) + "\n"


def _data(checkpoint: Checkpoint) -> str:
    sources = checkpoint.config["data"].get("sources") or []
    names = [
        public_address(each) if is_address(each) else each.replace("\\", "/").rpartition("/")[2]
        for each in map(str, sources)
    ]
    named = f" of {', '.join(f'`{name}`' for name in names)}" if names else ""
    counted = sum(checkpoint.residue_counts)
    longest = checkpoint.config["data"]["max_length"]
    cropped = f" Rows of at most {longest:,} {checkpoint.alphabet.unit}s." if longest else ""
    return f"{counted:,} tokens{named} in the training set.{cropped}\n"


def _limits(checkpoint: Checkpoint) -> str:
    limits = []
    if checkpoint.model_config.max_tokens is not None:
        limits.append(f"- Rows have at most {checkpoint.model_config.max_tokens:,} tokens.")
    if checkpoint.residue_policy == "error":
        limits.append("- A character that is no residue is an error of the tokenizer.")
    else:
        limits.append(f"- What is no residue is read as `{checkpoint.alphabet.unknown}`.")
    if checkpoint.model.causal and not checkpoint.model.keeps_state:
        limits.append("- This mechanism keeps no state: `generate` reads all for each token.")
    return "\n".join(limits)


_FRONT = """\
---
library_name: transformers
pipeline_tag: {task}
tags: [protein-performer, protein-language-model, linear-attention]
---
"""

_MASKED = """\
```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
model = AutoModelForMaskedLM.from_pretrained("FOLDER", trust_remote_code=True)
batch = tokenizer(["MKT<mask>YIAK", "ACDEF"], return_tensors="pt", padding=True)
logits = model(**batch).logits  # column i scores token i; <bos> stands in front
```
"""

_CAUSAL = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
batch = tokenizer(["MKT", "ACDEF"], return_tensors="pt", padding=True)
proteins = model.generate(**batch, max_new_tokens=200)
tokenizer.batch_decode(proteins, skip_special_tokens=True)
logits = model(**batch).logits  # column i scores token i + 1
```

The tokenizer adds no `<eos>`: write it behind a protein when you train on whole ones.
"""

_CODE = """\
`trust_remote_code=True` runs the Python files in this folder. With `protein-performer[hf]`
installed, `import protein_performer.hf` does without, and `protein_performer.load("FOLDER")` reads
it, too.
"""

_LICENCE = """\
## Licence

The Python files are protein-performer's, Apache-2.0. The licence of the weights is for those to
choose who trained them, in accord with that of their data (UniProt's are CC BY 4.0). Please cite
Choromanski et al., ICLR 2021 (arXiv:2009.14794).
"""
