"""Publishing a build: every region looked at, then carried out, side by side.

One region that fails stops no other; what succeeded stands in the receipt at once, so that a run
that dies is taken up again from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from layerpack.errors import LayerpackError, PublishError
from layerpack.events import Events
from layerpack.publish.aws import Aws, Region
from layerpack.publish.bucket import find_bucket
from layerpack.publish.checks import Sendable, check_arns
from layerpack.publish.deploy import Deployment
from layerpack.publish.look import Wish, code_needs_bucket, look, look_at_function
from layerpack.publish.plan import LayerPlan, RegionPlan
from layerpack.publish.receipt import FunctionReceipt, Receipt
from layerpack.publish.sending import LayerRequest, Traffic, publish_layer
from layerpack.publish.share import share
from layerpack.publish.side_by_side import side_by_side
from layerpack.publish.versions import LayerVersion, receipt_of

#: Layers of a region at once: AWS looks into each zip for some seconds before it answers.
_LAYERS: Final = 3

SCHEMA_VERSION: Final = 1

State = Literal["published", "reused", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerOutcome:
    """What became of a layer: its version's ARN (empty where there is none)."""

    name: str
    state: State
    arn: str = ""
    zipped_bytes: int = 0
    shared: tuple[str, ...] = ()
    error: LayerpackError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionOutcome:
    """What became of a region.

    `action` is what was to be done to the function (empty without one), `proven` how many workloads
    it answered; `bug` what should not have been raised.
    """

    region: str
    account: str
    layers: tuple[LayerOutcome, ...] = ()
    action: str = ""
    function_name: str = ""
    function: FunctionReceipt | None = None
    drops: tuple[str, ...] = ()
    proven: int = 0
    error: LayerpackError | None = None
    bug: Exception | None = None

    @property
    def did_nothing(self) -> bool:
        """Whether everything was there already."""
        sent = any(one.state != "reused" or one.shared for one in self.layers)
        return not self.error and not sent and self.action in ("", "unchanged")

    @property
    def did_to_function(self) -> str:
        """What was done to the function, in words."""
        done = {"create": "made", "update": "updated", "prove": "as it was, and now proven"}
        words = done.get(self.action, "as it was")
        if self.proven:
            words += f", answers {self.proven} workload{'s' * (self.proven > 1)} as verified"
        return words


def outcomes_json(outcomes: Sequence[RegionOutcome]) -> dict[str, Any]:
    """The outcomes as JSON: `regions`, each with

    - `region`, `account`, `error`;
    - its `layers`: `name`, `state`, `arn`, `zipped_bytes`, `shared`, `error`;
    - its `function`, or null: `name`, `action`, `drops`, `workloads` (how many it answered), and,
      where that succeeded, `state` (`proven` or `done`), `version`, `alias`.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "publish",
        "regions": [
            {
                "region": one.region,
                "account": one.account,
                "error": one.error.message if one.error else None,
                "layers": [
                    {
                        **{name: getattr(layer, name) for name in ("name", "state", "arn")},
                        "zipped_bytes": layer.zipped_bytes,
                        "shared": list(layer.shared),
                        "error": layer.error.message if layer.error else None,
                    }
                    for layer in one.layers
                ],
                "function": {
                    "name": one.function_name,
                    "action": one.action,
                    "drops": list(one.drops),
                    "workloads": one.proven,
                    **(asdict(one.function) if one.function else {}),
                }
                if one.action
                else None,
            }
            for one in outcomes
        ],
    }


def plan(
    build: Sendable, regions: Sequence[str], wish: Wish, aws: Aws, events: Events
) -> list[RegionPlan]:
    """Look at every region. Raises what concerns all of them: LimitError for a name that is too
    long, AwsError for credentials that nobody knows."""
    events.step("asking AWS for published layers")
    identity = aws.identify(regions)
    check_arns(build.layers, identity, regions)
    receipt = Receipt.read(build.folder)

    def one(name: str) -> RegionPlan:
        try:
            return look(aws.region(name), build, wish, receipt)
        except LayerpackError as error:
            return RegionPlan(region=name, account=identity.account, error=error)

    return side_by_side(one, regions, events)


def publish(
    build: Sendable, plans: Sequence[RegionPlan], wish: Wish, aws: Aws, events: Events
) -> list[RegionOutcome]:
    """Carry the plans out. Errors of a region are in its outcome. Only Ctrl-C raises, after the
    requests in progress are finished and reported."""
    receipt = Receipt.read(build.folder)
    total = sum(one.bytes_to_send for one in plans)
    traffic = Traffic(sent=_counter(events, total), note=events.note, warn=events.warn)
    events.step(f"publishing to {', '.join(one.region for one in plans if not one.error)}")
    ended: list[RegionOutcome] = []

    def one(planned: RegionPlan) -> RegionOutcome:
        outcome = _Work(
            aws=aws,
            build=build,
            wish=wish,
            plan=planned,
            receipt=receipt,
            traffic=traffic,
            events=events,
        ).run()
        ended.append(outcome)
        return outcome

    try:
        return side_by_side(one, plans, events, traffic)
    except BaseException:
        for outcome in ended:
            published = sum(layer.state == "published" for layer in outcome.layers)
            told = [f"{published} layers were published"]
            if outcome.function:
                told.append(f"function {outcome.function_name}: {outcome.did_to_function}")
            if outcome.error:
                told.append(outcome.error.message)
            events.warn(f"{outcome.region}: {'; '.join(told)}")
        raise


def _counter(events: Events, total: int) -> Callable[[int], None]:
    lock = threading.Lock()
    done = 0

    def sent(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            events.progress(min(done, total), total)

    return sent


@dataclass(kw_only=True, slots=True)
class _Work:
    """A region's plan, carried out."""

    aws: Aws
    build: Sendable
    wish: Wish
    plan: RegionPlan
    receipt: Receipt
    traffic: Traffic
    events: Events
    bug: Exception | None = None

    def run(self) -> RegionOutcome:
        """Layers, then who may use them, then the function."""
        planned = self.plan
        if planned.error:
            return self._outcome([], error=planned.error)
        layers: list[LayerOutcome] = []
        try:
            region = self.aws.region(planned.region)
            with ThreadPoolExecutor(_LAYERS) as pool:
                layers = list(pool.map(lambda one: self._layer(region, one), planned.layers))
            if error := next((one.error for one in layers if one.error), None):
                return self._outcome(layers, error=error)
            return self._with_function(region, layers)
        except LayerpackError as error:
            return self._outcome(layers, error=error)
        except Exception as error:
            return self._outcome(layers, error=self._unforeseen(error))

    def _unforeseen(self, error: Exception) -> PublishError:
        """A full disk, or a bug, as this region's error: the others' outcomes are reported
        before a bug is raised."""
        if isinstance(error, OSError):
            where = error.filename2 or error.filename or "the build folder"
            return PublishError(f"{where}: {error.strerror or error}", "Publish again.")
        self.bug = error
        return PublishError(f"a bug in layerpack: {error!r}")

    def _outcome(
        self, layers: Sequence[LayerOutcome], *, error: LayerpackError | None = None
    ) -> RegionOutcome:
        return RegionOutcome(
            region=self.plan.region,
            account=self.plan.account,
            layers=tuple(layers),
            action=self.plan.function.action if self.plan.function else "",
            function_name=self.plan.function.name if self.plan.function else "",
            error=error,
            bug=self.bug,
        )

    def _layer(self, region: Region, planned: LayerPlan) -> LayerOutcome:
        artifact = planned.artifact
        name, size = artifact.name, artifact.zipped_bytes
        version: LayerVersion | None = None
        try:
            self.traffic.check()
            if planned.way == "reuse" and planned.latest:
                version = planned.latest
            else:
                request = LayerRequest(
                    artifact=artifact,
                    runtime=self.build.manifest.runtime,
                    architecture=self.build.manifest.architecture,
                    former=planned.latest,
                )
                bucket = self.plan.bucket
                version = publish_layer(region, request, bucket, self.traffic)
            self.receipt.add_layer(region.place, name, receipt_of(version, artifact))
            shared = share(region, name, version.version, self.plan.shares)
        except Exception as error:
            told = error if isinstance(error, LayerpackError) else self._unforeseen(error)
            return LayerOutcome(
                name=name,
                state="failed",
                arn=version.arn if version else "",
                zipped_bytes=size,
                error=told,
            )
        return LayerOutcome(
            name=name,
            state="reused" if planned.way == "reuse" else "published",
            arn=version.arn,
            zipped_bytes=size,
            shared=tuple(map(str, shared)),
        )

    def _with_function(self, region: Region, layers: Sequence[LayerOutcome]) -> RegionOutcome:
        outcome = self._outcome(layers)
        wish, artifact = self.wish.function, self.build.function
        if self.plan.function is None or wish is None or artifact is None:
            return outcome
        self.traffic.check()
        arns = [one.arn for one in layers]
        # Publishing took a while: what the function is now is what counts, and is given back.
        planned = look_at_function(region, self.build, wish, arns, self.receipt)
        outcome = replace(outcome, action=planned.action, function_name=planned.name)
        if planned.action == "unchanged":
            known = self.receipt.function(region.place, planned.name)
            if known is None:
                known = FunctionReceipt(state="done", alias=planned.alias)
                self.receipt.set_function(region.place, planned.name, known)
            return replace(outcome, function=known)
        bucket = self.plan.bucket
        if bucket is None and code_needs_bucket(self.build, planned):
            bucket = find_bucket(region, self.wish.bucket)
        deployment = Deployment(
            region=region,
            wish=wish,
            manifest=self.build.manifest,
            artifact=artifact,
            plan=planned,
            answers=self.build.answers,
            bucket=bucket,
            traffic=self.traffic,
            events=self.events,
            receipt=self.receipt,
        )
        try:
            made = deployment.run(arns)
        except LayerpackError as error:
            return replace(outcome, error=error)
        proven = len(self.build.answers.workloads) if self.build.answers else 0
        return replace(outcome, function=made, proven=proven, drops=planned.drops)


def not_begun(planned: RegionPlan) -> RegionOutcome:
    """The outcome of a plan that was only looked at."""
    return RegionOutcome(region=planned.region, account=planned.account, error=planned.error)


def outcome_error(outcomes: Sequence[RegionOutcome]) -> PublishError | None:
    """The error for regions that failed, naming them; None where all went well. Raises a bug."""
    for one in outcomes:
        if one.bug:
            raise one.bug
    wrong = [(one.region, one.error) for one in outcomes if one.error]
    if not wrong:
        return None
    if len(outcomes) == 1:
        return PublishError(wrong[0][1].message, wrong[0][1].hint)
    return PublishError(
        f"{len(wrong)} of {len(outcomes)} regions failed",
        "\n".join(f"{region}: {error}" for region, error in wrong),
    )
