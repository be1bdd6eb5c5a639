"""Publishing a build: every region looked at, then carried out, side by side.

One region that fails stops no other; what succeeded stands in the receipt at once, so that a run
that dies is taken up again from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from layerpack.answers import Answers
from layerpack.errors import LayerpackError, PublishError
from layerpack.events import Events
from layerpack.publish.aws import Aws, Region
from layerpack.publish.checks import Sendable
from layerpack.publish.deploy import Deployment
from layerpack.publish.look import Wish, failed, look
from layerpack.publish.plan import LayerPlan, RegionPlan
from layerpack.publish.receipt import FunctionReceipt, Receipt
from layerpack.publish.sending import Traffic, publish_layer
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
    """What became of a region; `action` is what was done to the function (empty without one)."""

    region: str
    account: str
    layers: tuple[LayerOutcome, ...] = ()
    action: str = ""
    function: FunctionReceipt | None = None
    error: LayerpackError | None = None

    @property
    def did_nothing(self) -> bool:
        """Whether everything was there already."""
        sent = any(one.state != "reused" or one.shared for one in self.layers)
        return not self.error and not sent and self.action in ("", "unchanged")

    @property
    def did_to_function(self) -> str:
        """What was done to the function, in words."""
        return {"create": "made", "update": "updated"}.get(self.action, "as it was")


def outcomes_json(outcomes: Sequence[RegionOutcome]) -> dict[str, Any]:
    """The outcomes as JSON: `regions`, each with `region`, `account`, `error`, its `layers`
    (`name`, `state`, `arn`, `zipped_bytes`, `shared`, `error`) and its `function` (`name`,
    `action`, `version`, `alias`), or null."""
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
                "function": {"action": one.action, **asdict(one.function)}
                if one.function
                else None,
            }
            for one in outcomes
        ],
    }


def plan(
    build: Sendable, regions: Sequence[str], wish: Wish, aws: Aws, events: Events
) -> list[RegionPlan]:
    """Look at every region. Raises PublishError only for what concerns all of them."""
    events.step("asking AWS what is there")
    identity = aws.identity(regions[0])
    receipt = Receipt.read(build.folder)

    def one(name: str) -> RegionPlan:
        try:
            return look(aws.region(name), build, wish, identity, receipt)
        except LayerpackError as error:
            return failed(name, identity.account, error)

    return side_by_side(one, regions, events)


def publish(
    build: Sendable, plans: Sequence[RegionPlan], wish: Wish, aws: Aws, events: Events
) -> list[RegionOutcome]:
    """Carry the plans out. Errors of a region stand in its outcome; nothing is raised but for what
    ends the run (Ctrl-C), once what was being sent is done."""
    receipt = Receipt.read(build.folder)
    answers = Answers.read(build.folder)
    total = sum(one.bytes_to_send for one in plans)
    traffic = Traffic(sent=_counter(events, total))
    events.step(f"publishing to {', '.join(one.region for one in plans if not one.error)}")

    def one(planned: RegionPlan) -> RegionOutcome:
        return _Work(
            aws=aws,
            build=build,
            wish=wish,
            plan=planned,
            receipt=receipt,
            answers=answers,
            traffic=traffic,
            events=events,
        ).run()

    return side_by_side(one, plans, events, traffic)


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
    answers: Answers | None
    traffic: Traffic
    events: Events

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
            function = self._function(region, [one.arn for one in layers])
        except LayerpackError as error:
            return self._outcome(layers, error=error)
        return self._outcome(layers, function=function)

    def _outcome(
        self,
        layers: Sequence[LayerOutcome],
        *,
        function: FunctionReceipt | None = None,
        error: LayerpackError | None = None,
    ) -> RegionOutcome:
        action = self.plan.function.action if self.plan.function and not error else ""
        return RegionOutcome(
            region=self.plan.region,
            account=self.plan.account,
            layers=tuple(layers),
            action=action,
            function=function,
            error=error,
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
                version = publish_layer(
                    region,
                    artifact,
                    runtime=self.build.manifest.runtime,
                    architecture=self.build.manifest.architecture,
                    bucket=self.plan.bucket,
                    traffic=self.traffic,
                    former=planned.latest,
                )
            self.receipt.add_layer(
                region.name, region.endpoint, name, receipt_of(version, artifact)
            )
            shared = share(region, name, version.version, self.plan.shares)
        except LayerpackError as error:
            return LayerOutcome(
                name=name,
                state="failed",
                arn=version.arn if version else "",
                zipped_bytes=size,
                error=error,
            )
        return LayerOutcome(
            name=name,
            state="reused" if planned.way == "reuse" else "published",
            arn=version.arn,
            zipped_bytes=size,
            shared=tuple(map(str, shared)),
        )

    def _function(self, region: Region, arns: Sequence[str]) -> FunctionReceipt | None:
        planned, wish = self.plan.function, self.wish.function
        if planned is None or wish is None or self.build.function is None:
            return None
        if planned.action == "unchanged":
            return FunctionReceipt(name=planned.name, alias=planned.alias)
        deployment = Deployment(
            region=region,
            wish=wish,
            manifest=self.build.manifest,
            artifact=self.build.function,
            plan=planned,
            answers=self.answers,
            bucket=self.plan.bucket,
            traffic=self.traffic,
            events=self.events,
        )
        made = deployment.run(arns)
        self.receipt.set_function(region.name, region.endpoint, made)
        return made


def not_begun(planned: RegionPlan) -> RegionOutcome:
    """The outcome of a plan that was only looked at."""
    return RegionOutcome(region=planned.region, account=planned.account, error=planned.error)


def outcome_error(outcomes: Sequence[RegionOutcome]) -> PublishError | None:
    """The error for regions that failed, naming them; None where all went well."""
    wrong = [one for one in outcomes if one.error]
    if not wrong:
        return None
    if len(outcomes) == 1 and wrong[0].error:
        return PublishError(wrong[0].error.message, wrong[0].error.hint)
    lines = [f"{one.region}: {one.error.message}" for one in wrong if one.error]
    hints = dict.fromkeys(one.error.hint for one in wrong if one.error and one.error.hint)
    return PublishError(
        f"{len(wrong)} of {len(outcomes)} regions failed\n" + "\n".join(lines), "\n".join(hints)
    )
