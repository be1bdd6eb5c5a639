"""Which layer versions may go."""

from __future__ import annotations

from layerpack.publish.prune import Standing, superfluous
from layerpack.publish.versions import LayerVersion


def standing(layer: str, number: int, *users: str) -> Standing:
    """A version of a layer."""
    version = LayerVersion(
        layer=layer,
        version=number,
        arn=f"arn:{layer}:{number}",
        created="",
        runtimes=(),
        architectures=(),
    )
    return Standing(version=version, users=users)


def going(keep: int, *versions: Standing) -> set[str]:
    """The ARNs of what goes."""
    return {one.version.arn for one in superfluous(versions, keep)}


def test_the_newest_of_each_layer_stay() -> None:
    versions = [standing("a", n) for n in (1, 2, 10, 3)] + [standing("b", n) for n in (1, 2)]
    assert going(2, *versions) == {"arn:a:1", "arn:a:2"}
    assert going(1, *versions) == {"arn:a:1", "arn:a:2", "arn:a:3", "arn:b:1"}
    assert going(9, *versions) == set()


def test_what_a_function_uses_stays() -> None:
    assert going(1, standing("a", 1, "f"), standing("a", 2), standing("a", 3)) == {"arn:a:2"}
