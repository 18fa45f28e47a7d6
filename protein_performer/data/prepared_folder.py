"""What `protein-performer prepare` wrote, from which splits are read."""

from functools import cached_property
from pathlib import Path
from typing import Any

from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import check_alphabet, open_split, read_manifest
from protein_performer.data.preparing.books import preprocessing_from
from protein_performer.data.preparing.preprocessing import Preprocessing
from protein_performer.data.shards import StoredSplit
from protein_performer.errors import UserError


class PreparedFolder:
    """A folder on the disk; its manifest says how it was made.

    Args:
        name: of the folder, as the user calls it.
        alphabet: what the user expects it to be prepared with; None for any.
    """

    def __init__(self, name: str, alphabet: Alphabet | None = None) -> None:
        self._name = name
        self.alphabet = alphabet

    @property
    def name(self) -> str:
        """What the user calls it, without passwords."""
        return self._name

    @property
    def folder(self) -> Path:
        """Where the shards lie."""
        return Path(self.name)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """There once `prepare` was called.

        Raises: UserError if the folder is none, or was prepared with another alphabet.
        """
        manifest = self._read_manifest()
        check_alphabet(manifest, self.alphabet, self.name)
        return manifest

    def _read_manifest(self) -> dict[str, Any]:
        return read_manifest(self.folder)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its records became tokens in splits."""
        try:
            return preprocessing_from(self.manifest["definition"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.name}: its manifest does not say how it was prepared"
                f" ({type(error).__name__}: {error}). Prepare again."
            ) from None

    def prepare(self, workers: int) -> None:
        """Write or fetch what all processes need; any number of them may call it at once."""
        _ = self.manifest

    def split(self, name: str) -> StoredSplit:
        """The stored proteins of one of `SPLITS`."""
        return open_split(self.folder, self.manifest, name)
