"""Changing the function, proving that it answers, and taking the change back where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from layerpack import data
from layerpack.answers import Answers
from layerpack.errors import PublishError
from layerpack.events import Events
from layerpack.manifest import Manifest
from layerpack.publish.aws import Region
from layerpack.publish.checks import Artifact
from layerpack.publish.errors import AwsError
from layerpack.publish.former_code import keep_former_code
from layerpack.publish.function import (
    FunctionPlan,
    FunctionWish,
    former_configuration,
    wanted_configuration,
)
from layerpack.publish.invocation import check_answers
from layerpack.publish.receipt import FunctionReceipt
from layerpack.publish.sending import StoppedError, Traffic, again, code_of

#: A snapshot takes a few minutes, all else seconds.
_SETTLE_SECONDS: Final = 900
_LOOK_SECONDS: Final = 1.0


@dataclass(kw_only=True, slots=True)
class Deployment:
    """One function in one region: what it shall be, what is recorded of its answers."""

    region: Region
    wish: FunctionWish
    manifest: Manifest
    artifact: Artifact
    plan: FunctionPlan
    answers: Answers | None
    bucket: str
    traffic: Traffic
    events: Events
    _undo: list[Callable[[], Any]] = field(default_factory=list)

    def run(self, arns: Sequence[str]) -> FunctionReceipt:
        """Give the function the layers `arns`, prove it, and move the alias, if one is wanted.

        Where anything fails, or the run is ended, the function is taken back to what it was (one
        that was made is deleted). Raises PublishError, which tells that too.
        """
        try:
            with TemporaryDirectory(prefix="layerpack-publish-") as folder:
                try:
                    if self.plan.former is None:
                        self._create(arns)
                    else:
                        self._update(self.plan.former, arns, Path(folder))
                    self._settled()
                    self._check("")
                    version = self._move_alias() if self.plan.alias else ""
                except BaseException as error:
                    self._take_back(error)
                    raise
        finally:
            self._undo.clear()
        return FunctionReceipt(name=self.plan.name, version=version, alias=self.plan.alias)

    # Changes.

    def _create(self, arns: Sequence[str]) -> None:
        self.traffic.check()
        wanted = wanted_configuration(self.wish, self.manifest, None, arns)
        with ExitStack() as stack:
            code = self._code(self.artifact, stack)

            def create() -> Any:
                with self.region.told(f"making the function {self.plan.name}"):
                    return self.region.once.create_function(
                        FunctionName=self.plan.name,
                        Code=code,
                        Architectures=[self.manifest.architecture],
                        Description=self.manifest.description[:256],
                        **wanted,
                    )

            self._undo.append(lambda: self._delete(""))
            try:
                again(self.traffic, lambda: self._patient_with_role(create), safe=False)
            except AwsError as error:
                if not error.unanswered:
                    # Refused, as for one that is there by now: it is not ours to delete.
                    self._undo.clear()
                raise

    def _patient_with_role(self, create: Callable[[], Any]) -> Any:
        """A role that was just made is refused for some seconds."""
        end = time.monotonic() + data.load("publish.json")["role_propagation_seconds"]
        while True:
            try:
                return create()
            except AwsError as error:
                new = error.code == "InvalidParameterValueException" and "assume" in error.message
                if not new or time.monotonic() > end:
                    raise
                self._wait(stoppable=True)

    def _update(self, former: dict[str, Any], arns: Sequence[str], folder: Path) -> None:
        changes = set(self.plan.changes)
        wanted = wanted_configuration(self.wish, self.manifest, former, [*arns, *self.plan.keeps])
        back = former_configuration(former, wanted)
        # What stays as it is may be changed by somebody else meanwhile.
        wanted = {key: value for key, value in wanted.items() if back.get(key) != value}
        back = former_configuration(former, wanted)
        kept = None
        if changes & {"code", "architecture"}:
            kept = keep_former_code(self.region, self.plan.name, former, folder)
        self._settled()
        self.traffic.check()
        if kept is not None:
            architectures = list(former.get("Architectures") or ["x86_64"])
            self._undo.append(lambda: self._send_code(kept, architectures))
            self._send_code(self.artifact, [self.manifest.architecture])
            self._settled()
        if wanted:
            self._undo.append(lambda: self._configure(back))
            self._configure(wanted)

    def _send_code(self, artifact: Artifact, architectures: list[str]) -> None:
        with ExitStack() as stack:
            code = self._code(artifact, stack)

            def update() -> Any:
                with self.region.told(f"updating the code of {self.plan.name}"):
                    return self.region.once.update_function_code(
                        FunctionName=self.plan.name, Architectures=architectures, **code
                    )

            again(self.traffic, update, safe=True)

    def _configure(self, configuration: Mapping[str, Any]) -> None:
        def update() -> Any:
            with self.region.told(f"configuring {self.plan.name}"):
                return self.region.once.update_function_configuration(
                    FunctionName=self.plan.name, **configuration
                )

        again(self.traffic, update, safe=True)

    def _code(self, artifact: Artifact, stack: ExitStack) -> dict[str, Any]:
        return code_of(self.region, artifact, self.bucket, self.traffic, stack)

    def _settled(self, qualifier: str = "", *, stoppable: bool = True) -> None:
        """Wait until AWS has carried a change out. Raises PublishError where it could not."""
        found = self._at_rest(qualifier, stoppable=stoppable)
        if "Failed" in (found.get("State"), found.get("LastUpdateStatus")):
            reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "?"
            raise PublishError(
                f"{self._shown(qualifier)} in {self.region.name} cannot be used: {reason}"
            )

    def _at_rest(self, qualifier: str, *, stoppable: bool) -> dict[str, Any]:
        """The configuration once AWS changes nothing of it any more: before that it takes no other
        change. Raises PublishError where that takes too long."""
        shown = self._shown(qualifier)
        end = time.monotonic() + _SETTLE_SECONDS
        while True:
            with self.region.told(f"waiting for {shown}"):
                found: dict[str, Any] = self.region.lambda_.get_function_configuration(
                    FunctionName=self.plan.name,
                    **({"Qualifier": qualifier} if qualifier else {}),
                )
            if found.get("State") != "Pending" and found.get("LastUpdateStatus") != "InProgress":
                return found
            if time.monotonic() > end:
                raise PublishError(
                    f"{shown} in {self.region.name} is not ready after {_SETTLE_SECONDS} s",
                    "See what AWS's console says of it, and publish again.",
                )
            self._wait(stoppable=stoppable)

    def _shown(self, qualifier: str) -> str:
        return f"{self.plan.name}:{qualifier}" if qualifier else self.plan.name

    def _wait(self, *, stoppable: bool) -> None:
        if not stoppable:
            time.sleep(_LOOK_SECONDS)
        elif self.traffic.stop.wait(_LOOK_SECONDS):
            raise StoppedError

    # Proof.

    def _check(self, qualifier: str) -> None:
        if self.answers is None or not self.answers.workloads:
            self.events.warn(
                f"{self.plan.name} in {self.region.name} was not invoked: the build has no "
                "recorded answers (it has no workloads, or was not verified)"
            )
            return
        check_answers(self.region, self.plan.name, qualifier, self.answers, self.traffic)

    # Alias.

    def _move_alias(self) -> str:
        """Publish a version, prove it, and have the alias name it; gives the version."""
        before = self._versions()
        with self.region.told(f"publishing a version of {self.plan.name}"):
            answer = self.region.lambda_.publish_version(
                FunctionName=self.plan.name, CodeSha256=self.artifact.code_sha256
            )
        version = str(answer["Version"])
        if version not in before:
            self._undo.append(lambda: self._delete(version))
        self._settled(version)
        if self.wish.snap_start:
            # It starts from its snapshot, and so otherwise than what was proven.
            self._check(version)
        self._point(version)
        return version

    def _versions(self) -> set[str]:
        with self.region.told(f"listing the versions of {self.plan.name}"):
            pages = self.region.lambda_.get_paginator("list_versions_by_function").paginate(
                FunctionName=self.plan.name
            )
            return {str(one["Version"]) for page in pages for one in page["Versions"]}

    def _point(self, version: str) -> None:
        alias = {"FunctionName": self.plan.name, "Name": self.plan.alias}
        with self.region.told(f"moving the alias {self.plan.alias} of {self.plan.name}"):
            try:
                with self.region.told(f"looking for the alias {self.plan.alias}"):
                    self.region.lambda_.get_alias(**alias)
            except AwsError as error:
                if error.code != "ResourceNotFoundException":
                    raise
                self.region.lambda_.create_alias(**alias, FunctionVersion=version)
            else:
                # All of it: weights that an earlier shift left would go on sending some elsewhere.
                self.region.lambda_.update_alias(
                    **alias,
                    FunctionVersion=version,
                    RoutingConfig={"AdditionalVersionWeights": {}},
                )

    # Taking back.

    def _delete(self, qualifier: str) -> None:
        try:
            # A snapshot that is being made cannot be deleted.
            self._at_rest(qualifier, stoppable=False)
            with self.region.told(f"deleting {self.plan.name} {qualifier}".rstrip()):
                self.region.lambda_.delete_function(
                    FunctionName=self.plan.name, **({"Qualifier": qualifier} if qualifier else {})
                )
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise

    def _take_back(self, error: BaseException) -> None:
        """Undo what was done, the last thing first, and have the error tell of it."""
        if not self._undo:
            return
        stop, self.traffic = self.traffic, Traffic(direct=self.traffic.direct)
        try:
            while self._undo:
                if self.plan.former is not None:
                    self._at_rest("", stoppable=False)
                self._undo.pop()()
            if self.plan.former is not None:
                self._settled(stoppable=False)
        except PublishError as second:
            told = f"and taking it back failed: {second.message}: look at the function"
        else:
            was = "does not exist, as before" if self.plan.former is None else "is as it was before"
            told = f"{self.plan.name} {was}"
        finally:
            self.traffic = stop
        if isinstance(error, PublishError):
            error.message = f"{error.message}; {told}"
        else:
            self.events.warn(f"{self.plan.name} in {self.region.name}: ended; {told}")
