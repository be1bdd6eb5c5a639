"""How a build stands against each limit: used, allowed, over by how much. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from layerpack.manifest import Manifest

Kind = Literal["unzipped", "function", "layers", "zip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitUse:
    """One limit and what a build uses of it, in bytes, or in layers where `kind` is `layers`.

    `subject` is what is measured (a zip's own name for kind `zip`); `owner` is whose limit it is;
    `hard` is False where being over is only a warning (a zip that needs S3).
    """

    kind: Kind
    subject: str
    owner: str
    used: int
    limit: int
    hard: bool

    @property
    def allowed(self) -> int:
        """The highest use that is within the limit."""
        # Lambda's "must be smaller than" holds for the unzipped size alone.
        return self.limit - 1 if self.kind == "unzipped" else self.limit

    @property
    def excess(self) -> int:
        """What has to go for the build to be within the limit; 0 when it is."""
        return max(0, self.used - self.allowed)

    @property
    def room(self) -> int:
        """What can still be added; 0 when the limit is exceeded."""
        return max(0, self.allowed - self.used)

    @property
    def share(self) -> float:
        """`used` as a part of `limit`: 1.0 is exactly the limit."""
        return self.used / self.limit


def limit_uses(manifest: Manifest) -> tuple[LimitUse, ...]:
    """Every limit that applies to a build: unzipped, layers, the function, then each zip."""
    limits = manifest.limits
    uses = [
        LimitUse(
            kind="unzipped",
            subject="function + layers, unzipped" if manifest.function else "layers, unzipped",
            owner="AWS Lambda",
            used=manifest.totals.unzipped_bytes,
            limit=limits.unzipped_bytes,
            hard=True,
        ),
        LimitUse(
            kind="layers",
            subject="layers",
            owner="AWS Lambda",
            used=len(manifest.layers),
            limit=limits.layers,
            hard=True,
        ),
    ]
    zips = [(layer.name, layer.zipped_bytes) for layer in manifest.layers]
    if manifest.function:
        uses.append(
            LimitUse(
                kind="function",
                subject="function's own code",
                owner="layerpack's own budget",
                used=manifest.function.unzipped_bytes,
                limit=manifest.function.budget_bytes,
                hard=True,
            )
        )
        zips.append(("function", manifest.function.zipped_bytes))
    uses.extend(
        LimitUse(
            kind="zip",
            subject=name,
            owner="AWS Lambda, without S3",
            used=zipped,
            limit=limits.direct_upload_zip_bytes,
            hard=False,
        )
        for name, zipped in zips
    )
    return tuple(uses)
