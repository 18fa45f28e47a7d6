"""Checkpoints as models of `transformers`: importing this makes its Auto classes know them.

What `protein-performer export` writes is then loaded by `AutoModel`, `AutoModelForMaskedLM`,
`AutoModelForCausalLM` and `AutoTokenizer`. Needs the extra `hf`.
"""

try:
    import safetensors  # noqa: F401
    import transformers
except ImportError as error:
    raise ImportError(
        f"protein_performer.hf needs transformers 5 and safetensors ({error}). Install them with"
        ' the extra hf: pip install "protein-performer[hf]"'
    ) from error

from protein_performer.hf.configuration import ProteinPerformerConfig
from protein_performer.hf.modeling import (
    ProteinPerformerForCausalLM,
    ProteinPerformerForMaskedLM,
    ProteinPerformerModel,
)

__all__ = [
    "ProteinPerformerConfig",
    "ProteinPerformerForCausalLM",
    "ProteinPerformerForMaskedLM",
    "ProteinPerformerModel",
]

transformers.AutoConfig.register(ProteinPerformerConfig.model_type, ProteinPerformerConfig)
transformers.AutoModel.register(ProteinPerformerConfig, ProteinPerformerModel)
transformers.AutoModelForMaskedLM.register(ProteinPerformerConfig, ProteinPerformerForMaskedLM)
transformers.AutoModelForCausalLM.register(ProteinPerformerConfig, ProteinPerformerForCausalLM)
