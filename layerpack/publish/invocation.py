"""Asking a published function the recipe's workloads, and comparing what it answers."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from layerpack.answers import Answered, Answers
from layerpack.compare import difference
from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.sending import Traffic, again

#: Another processor rounds otherwise than the one that the answers were recorded on.
ROUNDING: Final = 1e-5
_LOG_LINES: Final = 8


def check_answers(
    region: Region, name: str, qualifier: str, answers: Answers, traffic: Traffic
) -> None:
    """Invoke the function with every workload's event, and compare.

    Numbers may differ by the recipe's tolerance, or by what rounds otherwise elsewhere. Raises
    PublishError for a function that fails, or answers something else than was recorded.
    """
    tolerance = max(answers.tolerance, ROUNDING)
    shown = f"{name}:{qualifier}" if qualifier else name
    for workload in answers.workloads:
        payload = _invoked(region, name, qualifier, workload, traffic)
        # An environment that was warm already answers as at the second time.
        sides = ("the layers that were verified", "the published function")
        found = [
            difference(text.encode(), payload, tolerance, sides)
            for text in (workload.answer, workload.again)
        ]
        if all(found):
            raise PublishError(
                f"{shown} in {region.name} answers the workload {workload.name} otherwise than "
                f"was verified: {found[0]}",
                "An answer that depends on where the function runs (its variables, its network) "
                "is no good workload; see also verify.tolerance.",
            )


def _invoked(
    region: Region, name: str, qualifier: str, workload: Answered, traffic: Traffic
) -> bytes:
    def invoke() -> Any:
        with region.told(f"invoking {name} with the workload {workload.name}"):
            answer = region.once.invoke(
                FunctionName=name,
                Payload=workload.event.encode(),
                LogType="Tail",
                **({"Qualifier": qualifier} if qualifier else {}),
            )
            return answer, answer["Payload"].read()

    traffic.check()
    answer, payload = again(traffic, invoke, safe=True)
    if answer.get("FunctionError"):
        log = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
        tail = "\n".join(log.strip().splitlines()[-_LOG_LINES:])
        raise PublishError(
            f"{name} in {region.name} fails with the workload {workload.name}: {_error(payload)}",
            f"It printed, at last:\n{tail}" if tail else "",
        )
    return bytes(payload)


def _error(payload: bytes) -> str:
    """Lambda's description of an error, as one line."""
    try:
        told = json.loads(payload)
        return f"{told.get('errorType', 'error')}: {told['errorMessage']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return payload.decode(errors="replace")[:500]
