"""The lock: exact versions with hashes, beside the recipe, in pip's requirements format.

`pip install --require-hashes -r bert.lock` accepts it. Comment lines at its head say for which
runtime and architecture it holds and from what it was made (`digest`), and pin the wheels that
assets and system libraries are taken from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from layerpack.errors import ResolveError
from layerpack.recipe import Recipe
from layerpack.units import key_of, sha256_bytes, write_text

# Never to remove it: it may be another tool's.
_HINT: Final = "A lock has the name of its recipe's file: give the recipe's file another."
_FORMAT = 1
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_HEADER = re.compile(r"^# (?P<key>[a-z-]+): (?P<value>.*)$")
_ASSET = re.compile(
    r"^# asset (?P<requirement>\S+==\S+)(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """One pinned distribution: its normalised name, version, and the SHA-256 of each of its files
    on the index."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def line(self) -> str:
        """The requirement as one line for pip."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{h}" for h in self.hashes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A lock's content; `body` is the resolver's own text below the header."""

    runtime: str
    architecture: str
    resolver: str
    digest: str
    requirements: tuple[Locked, ...]
    assets: tuple[Locked, ...]
    body: str
    image: str = ""
    """The image that it was resolved in, with its digest; empty where that was this machine."""
    recorded: str = ""
    """`content` as the file's header has it; empty for a lock that was not read from a file."""

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        body: str,
        asset_bodies: tuple[str, ...],
        *,
        resolver: str = "",
        image: str = "",
    ) -> Lock:
        """The lock of what a resolver printed for the recipe and for each asset's wheel.

        `resolver` is its name where it is not the recipe's, `image` where it ran in one.
        """
        return cls(
            runtime=recipe.runtime,
            architecture=recipe.architecture,
            resolver=resolver or recipe.resolve.tool,
            digest=resolving_digest(recipe),
            requirements=parse_requirements(body),
            assets=tuple(
                _asset_pin(*pair) for pair in zip(recipe.extra_wheels, asset_bodies, strict=True)
            ),
            body=body,
            image=image,
        )

    @classmethod
    def read(cls, path: Path) -> Lock | None:
        """The lock at `path`; None where there is no file.

        Raises ResolveError for a file that is no lock of this format: it is not ours to replace.
        """
        try:
            # A pipe would be waited for.
            if path.exists() and not path.is_file():
                raise ResolveError(f"{path} is in the way: it is not a file", _HINT)
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise ResolveError(f"{path} is in the way: it is not text: {error}", _HINT) from None
        except OSError as error:
            raise ResolveError(
                f"{path} cannot be read: {error.strerror}", "Check its permissions."
            ) from None
        if not text.strip():
            raise ResolveError(f"{path} is in the way: it is empty", _HINT)
        header: dict[str, str] = {}
        assets = []
        lines = text.splitlines(keepends=True)
        end = 0
        for line in lines:
            if not line.startswith("#"):
                break
            end += 1
            if match := _ASSET.match(line.strip()):
                name, version = match["requirement"].split("==")
                hashes = tuple(_HASH.findall(match["hashes"]))
                assets.append(Locked(name=name, version=version, hashes=hashes))
            elif match := _HEADER.match(line.strip()):
                header[match["key"]] = match["value"]
        if header.get("layerpack-lock") != str(_FORMAT):
            found = header.get("layerpack-lock")
            raise ResolveError(
                f"{path} is in the way: "
                + (
                    f"a lock of format {found}, this layerpack reads {_FORMAT}"
                    if found
                    else "it is not a lock that layerpack made"
                ),
                "Use a newer layerpack." if found else _HINT,
            )
        body = "".join(lines[end:]).lstrip("\n")
        try:
            return cls(
                runtime=header["runtime"],
                architecture=header["architecture"],
                resolver=header["resolver"],
                digest=header["digest"],
                requirements=parse_requirements(body),
                assets=tuple(assets),
                body=body,
                image=header.get("image", ""),
                recorded=header["content"],
            )
        except (KeyError, ValueError) as error:
            raise ResolveError(
                f"{path} is damaged: {error}", "Remove it; the next `layerpack lock` makes it anew."
            ) from None

    @property
    def text(self) -> str:
        """The whole file."""
        assets = "".join(f"# asset {asset.line}\n" for asset in self.assets)
        image = f"# image: {self.image}\n" if self.image else ""
        return (
            "# Exact versions for AWS Lambda layers, made by layerpack from the recipe beside\n"
            "# this file. Do not edit it: change the recipe, or run `layerpack lock`.\n"
            f"# layerpack-lock: {_FORMAT}\n"
            f"# runtime: {self.runtime}\n"
            f"# architecture: {self.architecture}\n"
            f"# resolver: {self.resolver}\n"
            f"{image}"
            f"# digest: {self.digest}\n"
            f"# content: {self.content}\n"
            f"{assets}\n{self.body}"
        )

    @property
    def content(self) -> str:
        """A key of the pins: an edit by hand, or a bad merge, shows."""
        return key_of([pin.line for pin in (*self.requirements, *self.assets)])

    @property
    def edit(self) -> str:
        """How it was edited by hand, so that no hash in it can be relied on; empty where it was
        not: its pins are not those that were written, or it has options, as layerpack writes none.
        """
        if not self.recorded:
            return ""
        words = (word for line in _lines(self.body) for word in line.split())
        # `-iURL` may hold a password.
        options = dict.fromkeys(
            word.partition("=")[0] if word.startswith("--") else word[:2]
            for word in words
            if word.startswith("-") and not word.startswith("--hash=")
        )
        if options:
            named = "indexes are named in the recipe, by 'resolve'"
            return f"{', '.join(options)} was added by hand; {named}"
        return "" if self.recorded == self.content else "its pins were edited by hand"

    @property
    def preferences(self) -> str:
        """What a resolver is to hold to where it can: the body, or the versions alone where hashes
        may belong to others."""
        if not self.edit:
            return self.body
        return "".join(f"{pin.name}=={pin.version}\n" for pin in self.requirements)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the whole file."""
        return sha256_bytes(self.text.encode())

    def write(self, path: Path) -> None:
        """Write the lock aside, then rename it into place."""
        write_text(path, self.text)

    def stale_reason(self, recipe: Recipe) -> str:
        """Why this lock does not hold for the recipe; empty where it does."""
        if (self.runtime, self.architecture) != (recipe.runtime, recipe.architecture):
            return (
                f"it was made for {self.runtime} on {self.architecture}, "
                f"the recipe is for {recipe.runtime} on {recipe.architecture}"
            )
        if self.edit:
            return self.edit
        if self.digest != resolving_digest(recipe):
            return "the recipe's requirements changed since it was made"
        return ""


def resolving_digest(recipe: Recipe) -> str:
    """A key of the part of the recipe that the resolver sees, whatever its order or spelling."""
    return key_of(
        _FORMAT,
        recipe.runtime,
        recipe.architecture,
        sorted(str(Requirement(text)) for text in recipe.requirements),
        sorted(recipe.build.from_source),
        # In order: the lock lists their pins as the recipe lists them.
        list(recipe.extra_wheels),
        recipe.resolve.digest_part,
        # Metadata of a source distribution may depend on them; younger than the first locks.
        *([sorted(recipe.build.environment.items())] if recipe.build.environment else []),
    )


def _asset_pin(wheel: str, body: str) -> Locked:
    """The pin of an asset's own distribution; pip-tools also lists what that would depend on."""
    name = canonicalize_name(Requirement(wheel).name)
    return next(pin for pin in parse_requirements(body) if pin.name == name)


def parse_requirements(
    body: str, environment: Mapping[str, str] | None = None
) -> tuple[Locked, ...]:
    """The pins of a hashed requirements text, sorted by name.

    With an `environment` (variables of PEP 508), those whose markers do not hold there are left
    out. Raises ValueError for a line that is no pin or has no hash.
    """
    pins = []
    for line in _lines(body):
        if line.startswith("-"):
            continue
        requirement = Requirement(line.split(" --hash")[0].strip())
        if environment and requirement.marker and not requirement.marker.evaluate(environment):
            continue
        specifiers = list(requirement.specifier)
        hashes = tuple(sorted(set(_HASH.findall(line))))
        if len(specifiers) != 1 or specifiers[0].operator != "==" or not hashes:
            raise ValueError(f"'{line[:60]}' is not an exact version with a hash")
        pins.append(
            Locked(
                name=str(canonicalize_name(requirement.name)),
                version=specifiers[0].version,
                hashes=hashes,
            )
        )
    return tuple(sorted(pins, key=lambda pin: pin.name))


def _lines(body: str) -> list[str]:
    """The lines of a requirements text, without comments; continued ones are joined."""
    joined = re.sub(r"\\\n\s*", " ", body)
    lines = (raw.split(" #")[0].strip() for raw in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
