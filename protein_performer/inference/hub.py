"""Models of the Hugging Face hub, by their names."""

import re
from pathlib import Path

from protein_performer.errors import UserError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ["config.json", "vocab.txt", "*.safetensors", "*.safetensors.index.json"]


def local_path(path: str | Path) -> Path:
    """The path itself, or where the hub's model `owner/name` lies once it was fetched.

    A path that exists is never asked for elsewhere.

    Raises: UserError if the name is the hub's and cannot be fetched.
    """
    if Path(path).exists() or not _NAME.fullmatch(str(path)):
        return Path(path)
    cure = f"{path}: no such path here, and as a model of the Hugging Face hub"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(f'{cure} it needs: pip install "protein-performer[hf]"') from None
    try:
        return Path(snapshot_download(str(path), allow_patterns=_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{cure} it could not be fetched: {first}") from None
