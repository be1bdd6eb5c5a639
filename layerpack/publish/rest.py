"""Waiting until AWS has carried out what it was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.sending import StoppedError, Traffic

#: A snapshot takes a few minutes, all else seconds.
_LONGEST_SECONDS: Final = 900
_LOOK_SECONDS: Final = 0.5
# States of a function, and of its last update, that pass by themselves (Lambda Developer Guide,
# "Lambda function states").
_MOVING: Final = frozenset({"Pending", "InProgress", "Deactivating", "Deleting"})


@dataclass(frozen=True, kw_only=True, slots=True)
class AtRest:
    """A function of a region, waited for until `traffic` ends."""

    region: Region
    name: str
    traffic: Traffic

    def wait(self, qualifier: str = "") -> dict[str, Any]:
        """Its configuration (that of a version), once AWS changes nothing of it any more: before
        that it takes no other change. Raises PublishError where that takes too long."""
        shown = self._shown(qualifier)
        end = time.monotonic() + _LONGEST_SECONDS
        while True:
            with self.region.told(f"waiting for {shown}"):
                found: dict[str, Any] = self.region.lambda_.get_function_configuration(
                    FunctionName=self.name,
                    **({"Qualifier": qualifier} if qualifier else {}),
                )
            if not {found.get("State"), found.get("LastUpdateStatus")} & _MOVING:
                return found
            if time.monotonic() > end:
                raise PublishError(
                    f"{shown} in {self.region.name} is not ready after {_LONGEST_SECONDS} s",
                    "See what AWS's console says of it, and publish again.",
                )
            self.look_again()

    def settled(self, qualifier: str = "") -> None:
        """Wait, and raise PublishError where AWS could not carry the change out."""
        found = self.wait(qualifier)
        if "Failed" in (found.get("State"), found.get("LastUpdateStatus")):
            reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "?"
            raise PublishError(
                f"{self._shown(qualifier)} in {self.region.name} cannot be used: {reason}",
                "The reason is from AWS. Fix its cause, and publish again.",
            )

    def look_again(self) -> None:
        """Let some time pass. Raises StoppedError once the run ends."""
        if self.traffic.stop.wait(_LOOK_SECONDS):
            raise StoppedError

    def _shown(self, qualifier: str) -> str:
        return f"{self.name}:{qualifier}" if qualifier else self.name
