"""A published version of the function, and the alias that names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from layerpack.publish.aws import Region
from layerpack.publish.errors import AwsError
from layerpack.publish.sending import Traffic, again


@dataclass(kw_only=True, slots=True)
class AliasMove:
    """An alias of a function, moved to a new version, and back to what it was when this was made.

    Raises AwsError where what it was cannot be read: it could not be given back. (Changes are asked
    for once: who asks again must know whether an answer was lost.)
    """

    region: Region
    name: str
    alias: str
    traffic: Traffic
    _former: dict[str, Any] | None = field(init=False)

    def __post_init__(self) -> None:
        self._former = again(self.traffic, self._found, safe=True)

    def publish(self, code_sha256: str) -> tuple[str, bool]:
        """Publish what the function is now, if it has this code: the version, and whether it is
        new (AWS gives the last one again where nothing has changed since). Raises AwsError."""
        before = self._versions()
        with self.region.told(f"publishing a version of {self.name}"):
            answer = self.region.lambda_.publish_version(
                FunctionName=self.name, CodeSha256=code_sha256
            )
        version = str(answer["Version"])
        return version, version not in before

    def point(self, version: str) -> None:
        """Have the alias name the version, and it alone. Raises AwsError."""
        # (One that was not there is, where a request is made again of which the answer was lost.)
        if self._former is None and self._found() is None:
            with self.region.told(f"making the alias {self.alias} of {self.name}"):
                self.region.once.create_alias(**self._names, FunctionVersion=version)
        else:
            # Weights that an earlier shift left would go on sending some elsewhere.
            self._update(version, {})

    def point_back(self) -> None:
        """Have the alias name what it named before. Raises AwsError."""
        if self._former is None:
            try:
                with self.region.told(f"deleting the alias {self.alias} of {self.name}"):
                    self.region.once.delete_alias(**self._names)
            except AwsError as error:
                if error.code != "ResourceNotFoundException":
                    raise
        else:
            weights = (self._former.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
            self._update(self._former["FunctionVersion"], weights or {})

    @property
    def _names(self) -> dict[str, str]:
        return {"FunctionName": self.name, "Name": self.alias}

    def _update(self, version: str, weights: dict[str, float]) -> None:
        with self.region.told(f"moving the alias {self.alias} of {self.name}"):
            self.region.once.update_alias(
                **self._names,
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": weights},
            )

    def _found(self) -> dict[str, Any] | None:
        try:
            with self.region.told(f"looking for the alias {self.alias} of {self.name}"):
                found: dict[str, Any] = self.region.lambda_.get_alias(**self._names)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        return found

    def _versions(self) -> set[str]:
        with self.region.told(f"listing the versions of {self.name}"):
            pages = self.region.lambda_.get_paginator("list_versions_by_function").paginate(
                FunctionName=self.name
            )
            return {str(one["Version"]) for page in pages for one in page["Versions"]}
