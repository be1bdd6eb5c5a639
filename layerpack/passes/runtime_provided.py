"""Leave out the distributions that Lambda's runtime has: boto3 and its kin. Only when asked.

The runtime's versions change under a function, so nothing that is needed in a certain version
goes. And its boto3 would then run with what the layer brings of its requirements: whoever ships
urllib3 must ship boto3 too, says AWS (Lambda Developer Guide, "Runtime dependencies in Python").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from typing import ClassVar

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from layerpack.passes.api import Edit, Keep, PassContext, Remove
from layerpack.payload import Payload
from layerpack.recipe import Recipe


class RuntimeProvided:
    """Distributions of the runtime (boto3, botocore, ...) that nothing needs in a version."""

    name: ClassVar[str] = "runtime-provided"
    summary: ClassVar[str] = "distributions that the runtime has (boto3 and its kin)"
    after: ClassVar[frozenset[str]] = frozenset()

    def wanted(self, recipe: Recipe) -> bool:
        """Only with `strip.runtime-provided: true`."""
        return recipe.strip.runtime_provided

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove whole distributions; keep, with a reason, those that must be shipped."""
        requires = dict(_requirements(payload))
        provided = {
            entry.distribution
            for entry in payload
            if entry.distribution in context.profile.distributions
        }
        kept = _kept(provided, requires, _recipe_requirements(context.recipe))
        for entry in payload:
            if entry.distribution in kept:
                yield Keep(path=entry.path, reason=kept[entry.distribution])
            elif entry.distribution in provided:
                yield Remove(path=entry.path, reason="the runtime has it")


def _kept(
    provided: set[str], requires: dict[str, list[Requirement]], asked: list[Requirement]
) -> dict[str, str]:
    """Which of the provided distributions must be shipped after all -> why; closed."""
    kept: dict[str, str] = {}
    for requirement in asked:
        name = str(canonicalize_name(requirement.name))
        if name in provided and requirement.specifier:
            kept[name] = f"the recipe asks for {requirement}"
    changed = True
    while changed:
        changed = False
        for user, requirements in sorted(requires.items()):
            for requirement in requirements:
                name = str(canonicalize_name(requirement.name))
                if name not in provided:
                    continue
                shipped = user not in provided or user in kept
                if shipped and requirement.specifier and name not in kept:
                    kept[name] = f"{user} needs {requirement.name}{requirement.specifier}"
                    changed = True
                # The runtime's own would find the layer's version of what it requires.
                if name in kept and user in provided and user not in kept:
                    kept[user] = f"it requires {name}, which is shipped"
                    changed = True
    return kept


def _requirements(payload: Payload) -> Iterator[tuple[str, list[Requirement]]]:
    """Distribution -> what its metadata requires, of whatever extra."""
    for entry in payload:
        if not entry.path.endswith(".dist-info/METADATA"):
            continue
        text = entry.source.read_text(encoding="utf-8", errors="replace")
        found = []
        for line in HeaderParser().parsestr(text).get_all("Requires-Dist", []):
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            if _may_apply(requirement.marker):
                found.append(requirement)
        yield entry.distribution, found


def _may_apply(marker: Marker | None) -> bool:
    """Whether a requirement may count on Lambda: extras may be asked for, Windows may not."""
    if marker is None or "extra" in str(marker):
        return True
    return marker.evaluate(
        {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    )


def _recipe_requirements(recipe: Recipe) -> list[Requirement]:
    return [Requirement(text) for text in recipe.requirements]
