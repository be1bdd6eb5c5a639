"""Which files of a function's folder are named like secrets, or hold private keys or AWS's keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from layerpack import data

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

#: A larger text is no configuration, and a function's code may have 5 MB in all.
_LARGEST_TEXT: Final = 5_000_000
#: A private key in DER, or a store of some, is smaller.
_LARGEST_DER: Final = 100_000
#: As git tells binary files.
_START: Final = 8000
_PUBLIC: Final = re.compile(rb"-----BEGIN (?:CERTIFICATE|(?:RSA )?PUBLIC KEY)")
_PEM_BEGIN: Final = rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_FIRST_LINE: Final = re.compile(rb"\s*" + _PEM_BEGIN)
# With as much base64 as the shortest key has, so that no text about keys counts; line ends may be
# escaped, as in JSON. RFC 1421's headers stand before it where the key is encrypted: a few. All
# that repeats is possessive, or has a bound: the time grows with a file's size, not its square.
_BREAK: Final = rb"(?:\s|\\[rn])"
_HEADER: Final = rb"[\w-]++: [^\r\n\\]{0,500}+" + _BREAK + rb"++"
_PEM: Final = re.compile(
    _PEM_BEGIN + _BREAK + rb"++(?:" + _HEADER + rb"){0,20}+(?:[\w+/=]|" + _BREAK + rb"){60}"
)
# IAM User Guide, "Understanding unique ID prefixes"; the documentation's own keys end with EXAMPLE.
_AWS_ID: Final = re.compile(
    rb"(?<![A-Z0-9])A[KS]IA(?![A-Z0-9]{0,9}EXAMPLE)[A-Z0-9]{16}(?![A-Za-z0-9])"
)
_AWS_SECRET: Final = re.compile(rb"(?<![\w/+])[\w/+]{40}(?![\w/+=])")
#: How far from its identifier a secret key stands, in bytes.
_BESIDE: Final = 300
# What a secret key is called, in every usual spelling (SecretAccessKey, aws.secret-key): its value
# is found by that name alone.
_SECRET_NAME: Final = re.compile(
    rb"secret[_.-]?access[_.-]?key|aws[_.-]?secret(?:[_.-]?key)?", re.IGNORECASE
)
#: How far behind its name a value ends, in bytes: `"name": "...", "value": "..."`.
_BEHIND: Final = 100
#: Placeholders repeat themselves; of 16 or 40 random characters, nearly all sets have more.
_FEWEST_OF_ID: Final = 7
_FEWEST_OF_SECRET: Final = 15


def is_secret(file: Path, names: Iterable[str]) -> bool:
    """Whether a file is a secret by one of its `names` (paths in the function's folder), or by its
    content."""
    content = file.read_bytes() if file.stat().st_size <= _LARGEST_TEXT else b""
    if any(_secret_names().match_file(name.lower()) for name in names):
        # Certificates, such as authorities' bundles, and public keys are public.
        public = _PUBLIC.search(content) and b"PRIVATE KEY" not in content
        return not (file.suffix == ".pem" and public)
    if b"\0" in content[:_START]:
        return len(content) <= _LARGEST_DER and _is_der_key(content)
    if file.suffix == ".json" and b'"service_account"' in content and b'"private_key"' in content:
        return True
    begins = file.suffix != ".py" and _FIRST_LINE.match(content)
    return bool(begins or _PEM.search(content)) or _has_aws_keys(content)


@cache
def _secret_names() -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 (only functions need it)

    return GitIgnoreSpec.from_lines(data.text("secrets.gitignore").splitlines())


def _is_der_key(content: bytes) -> bool:
    """Whether a file is one DER sequence (X.690) that begins with the version of a private key
    (RFC 5958 and 8017: 0, RFC 5915: 1) or of PKCS #12 (RFC 7292: 3)."""
    if content[:1] != b"\x30" or len(content) < 10:
        return False
    size, start = content[1], 2
    if size > 0x80:
        start += size - 0x80
        size = int.from_bytes(content[2:start])
    version = content[start : start + 3]
    versions = (b"\x02\x01\x00", b"\x02\x01\x01", b"\x02\x01\x03")
    # An integer, an octet string or a sequence follows.
    return (
        start + size == len(content)
        and version in versions
        and content[start + 3] in b"\x02\x04\x30"
    )


def _has_aws_keys(content: bytes) -> bool:
    """Whether an access key's identifier stands somewhere, or 40 characters like those of a secret
    key beside one, or behind the name of a secret key."""
    # As some writers of JSON escape it.
    content = content.replace(rb"\/", b"/")
    for found in _AWS_ID.finditer(content):
        near = content[max(0, found.start() - _BESIDE) : found.end() + _BESIDE]
        if _is_real_id(found[0]) or any(map(_is_random, _AWS_SECRET.findall(near))):
            return True
    return any(_has_secret(content, found.end()) for found in _SECRET_NAME.finditer(content))


def _has_secret(content: bytes, start: int) -> bool:
    """Whether a secret key stands behind the name that ends at `start`."""
    end = start + _BEHIND
    # One byte more: a longer word cut there is no key.
    for found in _AWS_SECRET.finditer(content, start, end + 1):
        # No name of a variable or an attribute, and no example of the documentation's.
        is_name = b"_" in found[0] or content[found.start() - 1] == ord(".")
        is_example = b"EXAMPLE" in found[0]
        if found.end() <= end and _is_random(found[0]) and not is_name and not is_example:
            return True
    return False


def _is_real_id(identifier: bytes) -> bool:
    """Whether an identifier is in base32, as those of AWS are, and no placeholder (AKIAXXX...)."""
    rest = identifier[4:]
    return not re.search(rb"[0189]", rest) and len(set(rest)) >= _FEWEST_OF_ID


def _is_random(secret: bytes) -> bool:
    """Whether characters are of every kind, as random ones are: hashes in hexadecimal are not."""
    kinds = (rb"[A-Z]", rb"[a-z]", rb"\d")
    return len(set(secret)) >= _FEWEST_OF_SECRET and all(re.search(one, secret) for one in kinds)
