"""Where a data module's shards come from: prepared here from sources, or made before.

Whatever the origin, batches depend on what is in the shards alone.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

from protein_performer.addresses import is_address, public_address
from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.fetching.remote_folder import RemoteFolder
from protein_performer.data.manifest import (
    is_prepared,
    read_manifest,
)
from protein_performer.data.prepared_folder import PreparedFolder
from protein_performer.data.preparing.books import preprocessing_for
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import Preprocessing, fingerprints
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

log = logging.getLogger(__name__)

Download = Callable[[], str | Path]


class Sources(PreparedFolder):
    """FASTA or flat files, prepared once, beside the first of them or in the cache.

    Args:
        sources: files, globs or addresses; empty for what `download` fetches.
        preprocessing: how records become tokens in splits.
        cache_dir: where prepared folders go; None for `prepared/` beside the first source.
        download: fetches a source if it is not there, and returns its name.
    """

    def __init__(
        self,
        sources: Sequence[str],
        preprocessing: Preprocessing,
        cache_dir: Path | None,
        download: Download | None = None,
    ) -> None:
        super().__init__("")
        self.sources = list(sources)
        self._preprocessing = preprocessing
        self.cache_dir = cache_dir
        self.download = download
        self._prepared = False

    @property
    def name(self) -> str:
        """The sources' names."""
        return ", ".join(map(public_address, self.names))

    @property
    def preprocessing(self) -> Preprocessing:
        """See `PreparedFolder`."""
        return self._preprocessing

    @cached_property
    def names(self) -> list[str]:
        """The sources, fetched if they are to be."""
        if self.sources or self.download is None:
            return self.sources
        return [str(self.download())]

    @cached_property
    def folder(self) -> Path:
        """Where their prepared form belongs; fetches the source if it is not there."""
        return prepared_folder(self.names, self.preprocessing, self.cache_dir)

    def prepare(self, workers: int) -> None:
        """Prepare the sources, unless a folder made from the same ones is there."""
        prepare(self.names, self.folder, self.preprocessing, workers=workers)
        others = [] if self._prepared else other_forms(self.folder)
        self._prepared = True
        if others:
            log.info(
                "%s: %d other prepared form(s) of the same sources are kept there, made with other"
                " settings or of earlier files. Where none is in use: rm -r %s",
                self.folder.parent,
                len(others),
                " ".join(map(str, others)),
            )


def prepared_folder(sources: Sequence[str], how: Preprocessing, cache: Path | None) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    Args:
        sources: see `Preprocessing.expand`.
        how: they are prepared.
        cache: the folder for such folders; None for `prepared/` beside the first source.
    """
    names = [public_address(name) for name in how.expand(sources)]
    if cache is None and is_address(names[0]):
        raise UserError(f"data.cache_dir: expected a folder, since there is none beside {names[0]}")
    identity = json.dumps(fingerprints(sources, how), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    home = how.home(names)
    stem = home.name.split(".")[0] or "proteins"
    return (cache or home.parent / "prepared") / f"{stem}-{digest[:12]}"


def other_forms(folder: Path) -> list[Path]:
    """Other prepared folders beside this one, made from sources of the same names."""
    stem = folder.name.rpartition("-")[0]
    alike = re.compile(re.escape(stem) + "-[0-9a-f]{12}")
    beside = [path for path in sorted(folder.parent.iterdir()) if alike.fullmatch(path.name)]
    ours = _source_names(folder)
    return [path for path in beside if path != folder and _source_names(path) in (ours, None)]


def _source_names(folder: Path) -> list[str] | None:
    """Of a prepared folder; None of one that no version of today reads; [] if it is none."""
    if not is_prepared(folder):
        return []
    try:
        return [each["name"] for each in read_manifest(folder)["sources"]]
    except UserError:
        return None


def make_origin(
    sources: str | Sequence[str] | None,
    splits: SplitRule | None = None,
    *,
    alphabet: Alphabet | None = None,
    residue_policy: ResiduePolicy = "error",
    prepared: str | Path | None = None,
    download: Callable[..., str | Path] | None = None,
    query: str | None = None,
    cache_dir: str | Path | None = None,
    head: int | None = None,
) -> PreparedFolder:
    """The origin that a data module's arguments describe; nothing is read or fetched yet.

    Args:
        sources: FASTA or flat files, perhaps .gz, globs or addresses; None for what `download`
            fetches.
        splits: which protein belongs where.
        alphabet, residue_policy: how residues become tokens.
        prepared: a folder that `protein-performer prepare` wrote, or its address. What it was
            prepared with stands in place of `sources`, `download`, `splits` and `residue_policy`;
            another `alphabet` than its own is refused.
        download: fetches a source that is not there, and returns its name; called with `query` if
            there is one. See `uniprot.download_release` and `uniprot_query.download_answer`.
        query: what `download` asks for.
        cache_dir: where prepared folders go; None for `prepared/` beside the first source. Shards
            at an address are kept there, too.
        head: prepare only so many records, the first of the sources; None for all.

    Raises: UserError for arguments that do not go together.
    """
    cache = None if cache_dir is None else Path(cache_dir)
    if prepared is not None:
        if head is not None:
            raise UserError(
                f"data.mode=stream reads sources, and data.prepared={public_address(str(prepared))}"
                " holds shards. Set data.mode=shards, or data.prepared=null and data.sources."
            )
        if is_address(str(prepared)):
            return RemoteFolder(str(prepared), alphabet, cache)
        return PreparedFolder(str(prepared), alphabet)
    if query is not None:
        if download is None:
            raise UserError(f"data.query: expected data.download to fetch it with; got {query}")
        download = partial(download, query=query)
    names = [sources] if isinstance(sources, str) else sources or []
    preprocessing = preprocessing_for(alphabet or Alphabet(), residue_policy, splits, head)
    return Sources(names, preprocessing, cache, download)
