"""Addresses of sources, and what of them may be shown: never a password or a signature.

A user writes `https://NAME:PASSWORD@host/proteins.gz` or an address that a storage service signed
for some hours. Whatever is printed, stored or compared later has its public form; the full address
is for the transfer alone. So a re-signed address is the same source.
"""

import hashlib
import re

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_NESTED = re.compile(r"::(?=[A-Za-z0-9+.-]+://)")  # fsspec's chains: zip://proteins::https://host

# Parameters that say which bytes are meant, by the APIs of UniProt and of file services.
_CONTENT = {
    *("accession", "accessions", "compressed", "cursor", "download", "fields", "file", "filename"),
    *("format", "id", "includeisoform", "name", "path", "query", "release", "size", "sort", "type"),
    *("version", "versionid"),
}
# Parameters that say who may read them, and until when: they change, and the bytes do not.
_SIGNING = re.compile(
    r"x-(amz|goog|ms|oss|cos|obs|bce)-.*|.*(signature|credential|token|secret|passw|auth|api-?_?key"
    r"|accesskey|accessid|hmac|hdne|gda|jwt).*|sig|key|keyid|key-pair-id|policy|expires?|exp"
    r"|s[vretp]|s[kp]r|spr|sip|srt?|ss|sdd|scid|sk(oid|tid|t|e|s|v)|user(name)?|login"
)
_HIDDEN = re.compile(r"hidden-[0-9a-f]{8}")


def is_address(name: str) -> bool:
    """Whether the name is an address of any protocol and not a file's."""
    return "://" in name


def public_address(name: str) -> str:
    """The address without `user:password@`, signatures and fragment; a file's name as it stands.

    Parameters that are known to state the content stay, those known to sign it go, and of any other
    one a digest of the value stays, so that two sources that differ in it are still two.

    >>> public_address("https://me:pw@host/proteins.gz?X-Amz-Signature=5e&X-Amz-Expires=60")
    'https://host/proteins.gz'
    >>> public_address("https://host/stream?query=reviewed:true&shelf=7")
    'https://host/stream?query=reviewed:true&shelf=hidden-7902699b'
    >>> public_address("data/proteins.fasta.gz")
    'data/proteins.fasta.gz'
    """
    if not is_address(name):
        return name
    return "::".join(_public(each) for each in _NESTED.split(name))


def below(folder: str, name: str) -> str:
    """The address of a file in a folder, with the folder's own parameters (which may sign it).

    >>> below("https://host/prepared/?sig=5e", "manifest.json")
    'https://host/prepared/manifest.json?sig=5e'
    """
    place, question, parameters = folder.partition("?")
    return f"{place.rstrip('/')}/{name}{question}{parameters}"


def public_text(text: str) -> str:
    """Text, such as another library's error, with each address in it made public."""
    return _ADDRESS.sub(lambda found: public_address(found[0]), text)


def _public(address: str) -> str:
    protocol, separator, rest = address.partition("://")
    place, _, parameters = rest.partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    host = host.rpartition("@")[2]
    shown = "&".join(filter(None, map(_public_parameter, re.split("[&;]", parameters))))
    return f"{protocol}{separator}{host}{slash}{path}" + (f"?{shown}" if shown else "")


def _public_parameter(parameter: str) -> str:
    # Without "=", the whole of it may be a secret: all of it counts as the value.
    begin, equals, end = parameter.partition("=")
    name, value = (begin, end) if equals else ("", begin)
    lower = name.lower()
    if lower in _CONTENT or _HIDDEN.fullmatch(value) or not value:
        return parameter
    if _SIGNING.fullmatch(lower):
        return ""
    return f"{name}{equals}hidden-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
