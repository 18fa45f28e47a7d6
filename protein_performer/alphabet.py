"""Residues and special tokens <-> uint8 codes: the one place where token ids live.

Codes 0-3 are the special tokens, then come the standard letters, then the rare ones. Plain text
has an alphabet of bytes (`byte_alphabet`).
"""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

ResiduePolicy = Literal["error", "unknown", "skip"]

_OUTSIDE = 255  # in the translation table only: a byte that is not a letter


@dataclass
class ResidueCounts:
    """What `Alphabet.encode` read, in characters, summed over the calls it was passed to."""

    residues: int = 0  # codes written
    lower_case: int = 0  # read as upper case
    rare: int = 0  # letters of `Alphabet.rare`
    unknown: int = 0  # outside the alphabet, replaced by `Alphabet.unknown`
    skipped: int = 0  # outside the alphabet, left out

    def add(self, other: "ResidueCounts") -> None:
        """Add another total to this one, in place."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True)
class Alphabet:
    """An ordered set of letters, with four special tokens before them.

    Attributes:
        standard: the letters that random replacement draws from; for proteins the 20 amino acids.
        rare: letters that also occur in data: B (D or N), J (I or L), O (pyrrolysine),
            U (selenocysteine), X (any), Z (E or Q).
        unknown: the letter that stands for any other character under the residue policy
            `unknown`.
        ignore_case: read lower case as upper case (UniProt is upper case; soft-masked regions
            of other sources are lower case).

    >>> protein = Alphabet()
    >>> protein.encode("MKu")
    array([14, 12, 27], dtype=uint8)
    >>> protein.decode(protein.encode("MKu"))
    'MKU'
    >>> len(protein)
    30
    """

    standard: str = "ACDEFGHIKLMNPQRSTVWY"
    rare: str = "BJOUXZ"
    unknown: str = "X"
    ignore_case: bool = True

    specials: ClassVar[tuple[str, ...]] = ("<pad>", "<bos>", "<eos>", "<mask>")
    pad: ClassVar[int] = 0
    bos: ClassVar[int] = 1
    eos: ClassVar[int] = 2
    mask: ClassVar[int] = 3
    first_letter: ClassVar[int] = len(specials)
    unit: ClassVar[str] = "residue"  # what a letter stands for, in the names of figures

    def __post_init__(self) -> None:
        if len(set(self.letters)) != len(self.letters):
            raise UserError(f"alphabet: expected distinct letters, got {self.letters!r}")
        if len(self.unknown) != 1 or self.unknown not in self.letters:
            raise UserError(f"alphabet: unknown={self.unknown!r} is none of {self.letters!r}")
        if len(self) > _OUTSIDE:
            raise UserError(f"alphabet: codes are uint8, {len(self.letters)} letters do not fit")

    @property
    def letters(self) -> str:
        """All letters; the one at index i has the code `first_letter + i`."""
        return self.standard + self.rare

    @property
    def letter_names(self) -> list[str]:
        """How each letter is shown, in the order of `letters`."""
        return list(self.letters)

    @property
    def standard_codes(self) -> range:
        """The codes of the standard letters."""
        return range(self.first_letter, self.first_letter + len(self.standard))

    def __len__(self) -> int:
        """V, the number of tokens, specials included."""
        return len(self.specials) + len(self.letters)

    @cached_property
    def table(self) -> bytes:
        """For each byte its code, 255 if it is no letter: for `bytes.translate`."""
        table = bytearray([_OUTSIDE] * 256)
        for code, letter in enumerate(self.letters, start=self.first_letter):
            table[ord(letter)] = code
            if self.ignore_case:
                table[ord(letter.lower())] = code
        return bytes(table)

    def encode(
        self,
        sequence: str | bytes,
        policy: ResiduePolicy = "error",
        *,
        counts: ResidueCounts | None = None,
        where: str = "sequence",
    ) -> NDArray[np.uint8]:
        """Letters to codes, without special tokens.

        Args:
            sequence: residues; characters beyond Latin-1 count as outside the alphabet.
            policy: what to do with a character outside the alphabet: raise `error`, replace it by
                the `unknown` letter (the length stays), or `skip` it (the length shrinks).
            counts: where to add what was read; the caller reports it.
            where: the place to name in an error, such as "FILE: record ACCESSION".

        Returns: (L,) uint8 codes.
        Raises: UserError under the policy `error`, with the character and its position.
        """
        raw = sequence.encode("latin-1", "replace") if isinstance(sequence, str) else sequence
        codes = np.frombuffer(raw.translate(self.table), dtype=np.uint8)
        outside = codes == _OUTSIDE
        num_outside = int(np.count_nonzero(outside))
        if num_outside and policy == "error":
            position = int(np.argmax(outside))
            raise UserError(
                f"{where}: expected residues {self.letters}, got {chr(raw[position])!r} at position"
                f" {position + 1}. The residue policy 'unknown' reads it as {self.unknown!r},"
                " 'skip' leaves it out."
            )
        if num_outside and policy == "unknown":
            code = self.first_letter + self.letters.index(self.unknown)
            codes = np.where(outside, np.uint8(code), codes)
        elif num_outside:
            codes = codes[~outside]
        if counts is not None:
            counts.residues += codes.size
            counts.lower_case += self._count_lower_case(raw)
            counts.rare += int(np.count_nonzero(codes >= self.standard_codes.stop))
            counts.unknown += num_outside if policy == "unknown" else 0
            counts.skipped += num_outside if policy == "skip" else 0
        return codes

    def _count_lower_case(self, raw: bytes) -> int:
        if not self.ignore_case or raw.isupper():
            return 0
        read_as_upper = set(self.letters.lower().encode("latin-1")) - set(
            self.letters.encode("latin-1")
        )
        return sum(raw.count(byte) for byte in read_as_upper)

    def decode(self, codes: NDArray[np.integer]) -> str:
        """Codes to letters; special tokens are written as `<pad>`, `<bos>`, `<eos>`, `<mask>`."""
        names = (*self.specials, *self.letters)
        return "".join(names[code] for code in codes)

    def plain(self) -> dict[str, Any]:
        """Plain types, from which `byte_alphabet.alphabet_from` makes an equal one."""
        return asdict(self)
