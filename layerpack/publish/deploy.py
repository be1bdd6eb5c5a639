"""Changing the function, proving that it answers, and taking the change back where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from layerpack import data
from layerpack.answers import Answers
from layerpack.errors import PublishError
from layerpack.events import Events
from layerpack.manifest import Manifest
from layerpack.publish.alias import AliasMove
from layerpack.publish.aws import Region
from layerpack.publish.bucket import Bucket
from layerpack.publish.checks import Artifact, not_what_was_sent
from layerpack.publish.errors import AwsError
from layerpack.publish.former_code import keep_former_code
from layerpack.publish.function import (
    FunctionPlan,
    FunctionWish,
    architectures_of,
    find_function,
    former_configuration,
    starts_from_snapshots,
    wanted_configuration,
)
from layerpack.publish.invocation import Hidden, Target, check_answers
from layerpack.publish.receipt import FunctionReceipt, Receipt
from layerpack.publish.rest import AtRest
from layerpack.publish.sending import ATTEMPTS, LOOKS, Traffic, again, code_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """A change of the function, and what takes it back."""

    do: Callable[[], Any]
    undo: Callable[[], Any]


@dataclass(kw_only=True, slots=True)
class Deployment:
    """One function in one region: its wanted state and its recorded answers."""

    region: Region
    wish: FunctionWish
    manifest: Manifest
    artifact: Artifact
    plan: FunctionPlan
    answers: Answers | None
    bucket: Bucket | None
    traffic: Traffic
    events: Events
    receipt: Receipt
    _undo: list[Callable[[], Any]] = field(default_factory=list)

    def run(self, arns: Sequence[str]) -> FunctionReceipt:
        """Give the function the layers `arns`, prove it, and move the alias, if one is wanted.

        Where anything fails, or the run is ended, the function is taken back to what it was (one
        that was made is deleted). Until it is proven the receipt says that it is not, so that a
        run after one that died does not take it for good. Raises PublishError, which tells all
        that.
        """
        known = self.receipt.function(self.region.place, self.plan.name)
        self._note(FunctionReceipt(state="begun"))
        with TemporaryDirectory(prefix="layerpack-publish-") as folder:
            try:
                if self.plan.former is None:
                    self._create(arns)
                else:
                    self._update(self.plan.former, arns, Path(folder))
                self._rest.settled()
                self._check("")
                version = self._move_alias() if self.plan.alias else ""
            except BaseException as error:
                if self._take_back(error):
                    self._note(known)
                raise
        made = FunctionReceipt(
            state="done" if self.answers is None else "proven",
            version=version,
            alias=self.plan.alias,
        )
        self._note(made)
        return made

    def _note(self, function: FunctionReceipt | None) -> None:
        self.receipt.set_function(self.region.place, self.plan.name, function)

    @property
    def _rest(self) -> AtRest:
        return AtRest(region=self.region, name=self.plan.name, traffic=self.traffic)

    # Changes.

    def _create(self, arns: Sequence[str]) -> None:
        self.traffic.check()
        wanted = wanted_configuration(self.wish, self.manifest, None, arns)
        most: int = data.load("publish.json")["function_description_characters"]
        with ExitStack() as stack:
            code = self._code(self.artifact, stack)

            def create() -> Any:
                with self.region.told(f"making the function {self.plan.name}"):
                    return self.region.once.create_function(
                        FunctionName=self.plan.name,
                        Code=code,
                        Architectures=[self.manifest.architecture],
                        Description=self.manifest.description[:most],
                        **wanted,
                    )

            try:
                answer = again(self.traffic, lambda: self._patient_with_role(create), safe=False)
            except AwsError as error:
                # One that is refused may be there already: it is not ours to delete.
                if error.unanswered:
                    self._undo.append(self._delete_late)
                raise
        self._undo.append(lambda: self._delete(""))
        self._compare_code(answer)

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
                self._rest.look_again()

    def _update(self, former: dict[str, Any], arns: Sequence[str], folder: Path) -> None:
        whole = wanted_configuration(self.wish, self.manifest, former, [*arns, *self.plan.keeps])
        current = former_configuration(former, whole)
        # What stays as it is may be changed by somebody else meanwhile.
        wanted = {key: value for key, value in whole.items() if current.get(key) != value}
        back = former_configuration(former, wanted)
        changes = []
        if {"code", "architecture"} & set(self.plan.changes):
            kept = keep_former_code(self.region, self.plan.name, former, folder)
            new, old = [self.manifest.architecture], architectures_of(former)
            changes.append(
                _Change(
                    do=lambda: self._send_code(self.artifact, new),
                    undo=lambda: self._send_code(kept, old),
                )
            )
        if wanted:
            changes.append(
                _Change(do=lambda: self._configure(wanted), undo=lambda: self._configure(back))
            )
        # One that an earlier update failed on is mended by another one.
        self._rest.wait()
        self.traffic.check()
        self._carry_out(changes)

    def _carry_out(self, changes: list[_Change]) -> None:
        """Make the changes, in the order that AWS takes them in."""
        left = list(changes)
        if len(left) > 1:
            try:
                self._change(left[0])
            except AwsError as refused:
                if not any(text in refused.message for text in self._refusals_of_order):
                    raise
                # New code may not fit beside the old layers, or the old runtime takes none.
                left.reverse()
                try:
                    self._change(left[0])
                except AwsError:
                    raise refused from None
            del left[0]
            self._rest.settled()
        for change in left:
            self._change(change)

    @property
    def _refusals_of_order(self) -> list[str]:
        texts: list[str] = data.load("publish.json")["refusals_of_order"]
        return texts

    def _change(self, change: _Change) -> None:
        self.traffic.check()
        # Noted before: whatever ends it may come after AWS has carried it out.
        self._undo.append(change.undo)
        try:
            self._when_free(change.do)
        except AwsError as error:
            if not error.unanswered:
                self._undo.pop()
            raise

    def _when_free(self, action: Callable[[], Any]) -> None:
        """Do what may be done twice, once AWS takes it: an update of which the answer was lost is
        under way when it is asked for again. The error that is raised is `unanswered` where any
        attempt was."""
        in_doubt = False
        for attempt in range(ATTEMPTS):
            try:
                action()
                return
            except AwsError as error:
                momentary = error.throttled or error.unanswered
                in_doubt = error.unanswered = in_doubt or error.unanswered
                if attempt == ATTEMPTS - 1:
                    raise
                if error.code == "ResourceConflictException":
                    self._rest.wait()
                elif momentary:
                    self.traffic.pause(attempt, error)
                else:
                    raise

    def _send_code(self, artifact: Artifact, architectures: Sequence[str]) -> None:
        with ExitStack() as stack:
            code = self._code(artifact, stack)
            with self.region.told(f"updating the code of {self.plan.name}"):
                answer = self.region.once.update_function_code(
                    FunctionName=self.plan.name, Architectures=architectures, **code
                )
        self._compare_code(answer, artifact)

    def _configure(self, configuration: dict[str, Any]) -> None:
        with self.region.told(f"configuring {self.plan.name}"):
            self.region.once.update_function_configuration(
                FunctionName=self.plan.name, **configuration
            )

    def _code(self, artifact: Artifact, stack: ExitStack) -> dict[str, Any]:
        return code_of(self.region, artifact, self.bucket, self.traffic, stack)

    def _compare_code(self, answer: dict[str, Any], artifact: Artifact | None = None) -> None:
        sent = artifact or self.artifact
        if answer.get("CodeSha256") != sent.code_sha256:
            raise not_what_was_sent(f"the function {self.plan.name}", answer, sent)

    # Proof.

    def _check(self, qualifier: str) -> None:
        if self.answers is None or not self.answers.workloads:
            self.events.warn(
                f"{self.plan.name} in {self.region.name} was not invoked: the build has no "
                "recorded answers (it has no workloads, or was not verified)"
            )
            return
        secrets = (self.plan.former or {}).get("Environment", {}).get("Variables", {}).values()
        target = Target(region=self.region, name=self.plan.name, qualifier=qualifier)
        hidden = Hidden(values=tuple(one for one in secrets if one not in self._own_values))
        check_answers(target, self.answers, self.traffic, hidden)

    @property
    def _own_values(self) -> Iterable[str]:
        return self.manifest.function.environment.values() if self.manifest.function else ()

    # Alias.

    def _move_alias(self) -> str:
        """Publish a version, prove it where it starts otherwise, and have the alias name it."""
        self.traffic.check()
        move = AliasMove(
            region=self.region,
            name=self.plan.name,
            alias=self.plan.alias,
            traffic=self.traffic,
        )
        version, is_new = move.publish(self.artifact.code_sha256)
        if is_new:
            self._undo.append(lambda: self._delete(version))
        self._rest.settled(version)
        if self.wish.snap_start or starts_from_snapshots(self.plan.former):
            # It starts from its snapshot, and so otherwise than what was proven.
            self._check(version)
        self.traffic.check()
        self._change(_Change(do=lambda: move.point(version), undo=move.point_back))
        return version

    # Taking back.

    def _delete(self, qualifier: str) -> None:
        try:
            # A snapshot that is being made cannot be deleted.
            self._rest.wait(qualifier)
            with self.region.told(f"deleting {self.plan.name} {qualifier}".rstrip()):
                self.region.lambda_.delete_function(
                    FunctionName=self.plan.name, **({"Qualifier": qualifier} if qualifier else {})
                )
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise

    def _delete_late(self) -> None:
        """Delete a function that AWS may still be making: its answer was lost."""
        for seconds in LOOKS:
            self.traffic.wait(seconds)
            if find_function(self.region, self.plan.name) is not None:
                self._delete("")
                return
        raise PublishError(f"AWS may still create {self.plan.name}: its answer was lost")

    def _take_back(self, error: BaseException) -> bool:
        """Undo what was done, the last thing first, and have the error tell of it; whether the
        function is what it was."""
        changed = bool(self._undo)
        # The run's end does not end this.
        former = self.traffic
        self.traffic = Traffic(direct=former.direct, note=former.note, warn=former.warn)
        failures = self._undone()
        if changed and not failures and self.plan.former is not None:
            try:
                self._rest.settled()
            except PublishError as second:
                failures.append(second)
        told = self._told(failures, changed=changed)
        if isinstance(error, PublishError):
            error.message = "; ".join(filter(None, (error.message, told)))
        elif told:
            self.events.warn(f"{self.region.name}: {told}")
        return not failures

    def _told(self, failures: Sequence[PublishError], *, changed: bool) -> str:
        """What became of the function, for the error's end."""
        name = self.plan.name
        if failures:
            reasons = "; ".join(one.message for one in failures)
            return f"taking {name} back failed, look at it: {reasons}"
        if self.plan.interrupted:
            return (
                f"{name} is as this run found it: an earlier run changed it and was interrupted, "
                "and its state before that run is unknown"
            )
        if self.plan.former is None:
            return f"{name} does not exist, as before" if changed else ""
        return f"{name} is as it was before"

    def _undone(self) -> list[PublishError]:
        """What could not be undone. One step that is refused does not keep the others from being
        taken; they may be what it waits for, so it is tried again after them."""
        steps = self._undo[::-1]
        self._undo.clear()
        failures: list[PublishError] = []
        for _ in range(2):
            left = []
            failures = []
            for step in steps:
                with suppress(PublishError):
                    self._rest.wait()
                try:
                    self._when_free(step)
                except PublishError as error:
                    left.append(step)
                    failures.append(error)
            if not left or len(left) == len(steps) == 1:
                break
            steps = left
        return failures
