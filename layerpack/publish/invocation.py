"""Asking a published function the recipe's workloads, and comparing what it answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from layerpack.answers import Answered, Answers
from layerpack.compare import difference
from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.sending import Traffic, again

#: Another processor rounds otherwise than the one that the answers were recorded on.
ROUNDING: Final = 1e-5
_SIDES: Final = ("the layers that were verified", "the published function")
_LOG_LINES: Final = 8
_SHORT: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is invoked: a function of a region, or a version of it (`qualifier`)."""

    region: Region
    name: str
    qualifier: str = ""

    def __str__(self) -> str:
        version = f":{self.qualifier}" if self.qualifier else ""
        return f"{self.name}{version} in {self.region.name}"

    def invoke(self, workload: Answered, traffic: Traffic) -> bytes:
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
        answer, payload = again(traffic, once, safe=True)
        if answer.get("FunctionError"):
            log = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
            tail = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
            raise PublishError(
                f"{self} fails with the workload {workload.name}: {_error(payload)}",
                f"It printed, at last:\n{tail}" if tail else "",
            )
        return bytes(payload)


def check_answers(
    target: Target, answers: Answers, traffic: Traffic, secrets: Sequence[str]
) -> None:
    """Invoke the function with every workload's event, and compare.

    Numbers may differ by the recipe's tolerance, or by what rounds otherwise elsewhere. Raises
    PublishError for a function that fails, or answers something else than was recorded; the
    function's variables, `secrets`, do not stand in it.
    """
    tolerance = max(answers.tolerance, ROUNDING)
    for workload in answers.workloads:
        try:
            payload = target.invoke(workload, traffic)
            # An environment that was warm already answers as at the second time.
            found = [
                difference(text.encode(), payload, tolerance, _SIDES)
                for text in (workload.answer, workload.again)
            ]
            if all(found):
                raise PublishError(
                    f"{target} answers the workload {workload.name} otherwise than was verified: "
                    f"{found[0]}",
                    "An answer that depends on where the function runs (its variables, its "
                    "network) is no good workload; see also verify.tolerance.",
                )
        except PublishError as error:
            error.message = _without(error.message, secrets)
            error.hint = _without(error.hint, secrets)
            raise


def _without(text: str, secrets: Sequence[str]) -> str:
    """A text without values that may be secrets; very short ones stand in any text."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > _SHORT:
            text = text.replace(secret, "***")
    return text


def _error(payload: bytes) -> str:
    """Lambda's description of an error, as one line."""
    try:
        told = json.loads(payload)
        return f"{told.get('errorType', 'error')}: {told['errorMessage']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return payload.decode(errors="replace")[:500]
