"""Plain text <-> uint8 codes: an alphabet whose letters are bytes."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.errors import UserError

# The bytes that occur in UTF-8: all but 0xC0, 0xC1 and 0xF5-0xFF (RFC 3629, section 1).
_UTF8_BYTES = bytes([*range(0xC0), *range(0xC2, 0xF5)])
_NAMES = {0x0A: "\\n", 0x20: "space"}  # in pictures


@dataclass(frozen=True)
class ByteAlphabet(Alphabet):
    """The bytes of text in UTF-8, each a letter.

    13 of the 256 bytes never occur in UTF-8, which leaves room for the special tokens: bytes below
    0xC0 have the code 4 + byte, those above 2 + byte, and V is 247. Bytes that are not UTF-8 are
    thus never read as something else.

    >>> text = ByteAlphabet()
    >>> text.encode("né")
    array([114, 197, 173], dtype=uint8)
    >>> text.decode(text.encode("né"))
    'né'
    >>> len(text)
    247
    """

    standard: str = field(default=_UTF8_BYTES.decode("latin-1"), init=False, repr=False)
    rare: str = field(default="", init=False)
    unknown: str = field(default="?", init=False)  # U+FFFD takes its part
    ignore_case: bool = field(default=False, init=False)

    unit: ClassVar[str] = "byte"

    @property
    @override
    def letter_names(self) -> list[str]:
        return [
            _NAMES.get(byte) or (chr(byte) if 0x20 < byte < 0x7F else f"{byte:02X}")
            for byte in _UTF8_BYTES
        ]

    @override
    def encode(
        self,
        sequence: str | bytes,
        policy: ResiduePolicy = "error",
        *,
        counts: ResidueCounts | None = None,
        where: str = "text",
    ) -> NDArray[np.uint8]:
        """As `Alphabet.encode`, L being bytes; text is written in UTF-8.

        Bytes that are not UTF-8 are an error, U+FFFD in their place (`unknown`), or left out
        (`skip`); `counts` has the number of characters put there, or of bytes left out.
        """
        raw = sequence.encode("utf-8", "surrogatepass") if isinstance(sequence, str) else sequence
        counts = ResidueCounts() if counts is None else counts
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if policy == "error":
                raise UserError(
                    f"{where}: expected UTF-8, got the byte 0x{raw[error.start]:02X} at byte"
                    f" {error.start + 1:,} ({error.reason}). Convert the text, such as by `iconv -f"
                    " latin1 -t utf-8`; the residue policy 'unknown' puts U+FFFD there, 'skip'"
                    " leaves it out."
                ) from None
            raw = self._repair(raw, policy, counts)
        counts.residues += len(raw)
        return np.frombuffer(raw.translate(self.table), dtype=np.uint8)

    def _repair(self, raw: bytes, policy: ResiduePolicy, counts: ResidueCounts) -> bytes:
        kept = raw.decode("utf-8", "ignore").encode("utf-8")
        if policy == "skip":
            counts.skipped += len(raw) - len(kept)
            return kept
        replaced = raw.decode("utf-8", "replace")
        counts.unknown += replaced.count("\ufffd") - kept.decode("utf-8").count("\ufffd")
        return replaced.encode("utf-8")

    @override
    def decode(self, codes: NDArray[np.integer]) -> str:
        """Codes to text; what is cut out of the middle of a character is written as U+FFFD."""
        names = [special.encode() for special in self.specials]
        names += [bytes([byte]) for byte in _UTF8_BYTES]
        return b"".join(names[code] for code in codes).decode("utf-8", "replace")

    @override
    def plain(self) -> dict[str, Any]:
        return {"bytes": "utf-8"}


def alphabet_from(plain: dict[str, Any]) -> Alphabet:
    """The alphabet that `Alphabet.plain` described."""
    return ByteAlphabet() if "bytes" in plain else Alphabet(**plain)
