"""Asking a published function the recipe's workloads, and comparing what it answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from layerpack.answers import Answered, Answers
from layerpack.compare import Differences, differences
from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.errors import AwsError
from layerpack.publish.rest import AtRest
from layerpack.publish.sending import Traffic, again

#: Another processor rounds otherwise than the one that the answers were recorded on.
ROUNDING: Final = 1e-5
_SIDES: Final = ("the layers that were verified", "the published function")
_LOG_LINES: Final = 8
_SHORT: Final = 3
#: How often one that is not ready is asked again.
_WAKING: Final = 20
_NOT_READY: Final = frozenset({"ResourceConflictException", "SnapStartNotReadyException"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Hidden:
    """Values that stand in no message: a function's variables, which may be secrets."""

    values: tuple[str, ...]

    def out_of(self, text: str) -> str:
        """The text without them, also as JSON and Python write them; very short ones stand in any
        text."""
        for value in sorted(self.values, key=len, reverse=True):
            if len(value) > _SHORT:
                for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1]):
                    text = text.replace(form, "***")
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is invoked: a function of a region, or a version of it (`qualifier`)."""

    region: Region
    name: str
    qualifier: str = ""

    def __str__(self) -> str:
        version = f":{self.qualifier}" if self.qualifier else ""
        return f"{self.name}{version} in {self.region.name}"

    def invoke(self, workload: Answered, traffic: Traffic, hidden: Hidden) -> bytes:
        """The answer to a workload's event. Raises AwsError, and PublishError with the function's
        own error."""

        def once() -> Any:
            with self.region.told(f"invoking {self.name} with the workload {workload.name}"):
                answer = self.region.once.invoke(
                    FunctionName=self.name,
                    Payload=workload.event.encode(),
                    LogType="Tail",
                    **({"Qualifier": self.qualifier} if self.qualifier else {}),
                )
                return answer, answer["Payload"].read()

        traffic.check()
        traffic.note(f"invoking {self} with the workload {workload.name}")
        answer, payload = self._when_ready(once, traffic)
        if answer.get("FunctionError"):
            log = base64.b64decode(answer.get("LogResult") or "").decode("utf-8", "replace")
            log = hidden.out_of(log)
            tail = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
            told = _error(hidden.out_of(payload.decode("utf-8", "replace")))
            raise PublishError(
                f"{self} fails with the workload {workload.name}: {told}",
                f"It printed, at last:\n{tail}" if tail else "",
            )
        return bytes(payload)

    def _when_ready(self, once: Callable[[], Any], traffic: Traffic) -> Any:
        """One that was idle for long, or starts from a snapshot, refuses until it is ready."""
        rest = AtRest(region=self.region, name=self.name, traffic=traffic)
        for _ in range(_WAKING):
            try:
                return again(traffic, once, safe=True)
            except AwsError as error:
                if error.code not in _NOT_READY:
                    raise
                rest.look_again()
                rest.wait(self.qualifier)
        return again(traffic, once, safe=True)


def check_answers(target: Target, answers: Answers, traffic: Traffic, hidden: Hidden) -> None:
    """Invoke the function with every workload's event, and compare.

    Numbers may differ by the recipe's tolerance, or by what rounds otherwise elsewhere. Raises
    PublishError for a function that fails, or answers something else than was recorded; what is
    `hidden` does not stand in it.
    """
    tolerance = max(answers.tolerance, ROUNDING)

    def compared(one: str, other: str) -> Differences:
        texts = (one.encode(), other.encode())
        return differences(*texts, tolerance, ignore=answers.ignore, sides=_SIDES)

    for workload in answers.workloads:
        payload = target.invoke(workload, traffic, hidden).decode("utf-8", "replace")
        # An environment that was warm already answers as at the second time.
        recorded = (workload.answer, workload.again)
        if not all(compared(one, payload) for one in recorded):
            continue
        told = compared(hidden.out_of(workload.answer), hidden.out_of(payload)).text
        raise PublishError(
            f"{target} answers the workload {workload.name} otherwise than was verified: "
            f"{told or 'what differs may be a secret'}",
            "An answer that depends on where the function runs (its variables, its network) is "
            "no good workload; see also verify.ignore and verify.tolerance.",
        )


def _error(payload: str) -> str:
    """Lambda's description of an error, as one line."""
    try:
        told = json.loads(payload)
        return f"{told.get('errorType', 'error')}: {told['errorMessage']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return payload[:500]
