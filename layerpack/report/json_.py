"""Reports as JSON: the models' fields by their own names, and what is computed from them.

Every document has `schema_version` (this module's, raised when a field goes or changes its
meaning; new fields may come) and `kind`: `size-report`, `diff` or `explanation`. Sizes are bytes.
A path or a name is text of others: quote it where you show it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from layerpack.report.diff import ReportDiff
from layerpack.report.explain import Explanation, FileExplanation
from layerpack.report.explain_parts import PartsExplanation
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import PagedSize, SizeReport

SCHEMA_VERSION = 1


def size_report_json(report: SizeReport) -> str:
    """A size report: SizeReport's fields, and

    - top level: `exceeds` (a hard limit is exceeded: exit code 3), `verdict` (one line),
      `saved_bytes`, `over` (the exceeded entries of `limits`);
    - each of `limits` and `over`: `excess` (what has to go), `room`, `share` (1.0 is the limit);
    - each of `layers`, and `function`: `needs_s3`; each of `distributions`: `ratio` (or null);
      each of `passes`: `saved_bytes`; each of `paged`: `ratio` (of `size` to `original_bytes`),
      and `paged_total`, one of all of them (or null).
    """
    value = asdict(report)
    value["limits"] = [_limit(use) for use in report.limits]
    value["over"] = [_limit(use) for use in report.over]
    value["layers"] = [asdict(item) | {"needs_s3": item.needs_s3} for item in report.layers]
    if report.function:
        value["function"]["needs_s3"] = report.function.needs_s3
    value["distributions"] = [asdict(item) | {"ratio": item.ratio} for item in report.distributions]
    value["passes"] = [asdict(item) | {"saved_bytes": item.saved_bytes} for item in report.passes]
    value["paged"] = [_paged(item) for item in report.paged]
    value["paged_total"] = _paged(report.paged_total) if report.paged_total else None
    value["exceeds"] = report.exceeds
    value["verdict"] = report.verdict
    value["saved_bytes"] = report.saved_bytes
    return _document("size-report", value)


def diff_json(diff: ReportDiff) -> str:
    """A diff: ReportDiff's fields, and

    - top level: `identical` (every zip is), `upload_bytes` (what publishing would send);
    - each of `zips`: `upload_bytes`; every before/after pair: `delta`.
    """
    value = asdict(diff)
    for zip_value, item in zip(value["zips"], diff.zips, strict=True):
        zip_value["upload_bytes"] = item.upload_bytes
    value["identical"] = diff.identical
    value["upload_bytes"] = diff.upload_bytes
    return _document("diff", _with_deltas(value))


def explanation_json(explanation: Explanation) -> str:
    """An explanation: FileExplanation's fields with `of` = `file`, or GroupExplanation's with
    `of` = `group`.
    """
    of = "file" if isinstance(explanation, FileExplanation) else "group"
    return _document("explanation", {"of": of} | asdict(explanation))


def parts_json(explanation: PartsExplanation) -> str:
    """What operators or variants cost: PartsExplanation's fields, with its kind as `of`."""
    value = asdict(explanation)
    return _document("explanation", {"of": value.pop("kind")} | value)


def _limit(use: LimitUse) -> dict[str, Any]:
    return asdict(use) | {"excess": use.excess, "room": use.room, "share": use.share}


def _paged(item: PagedSize) -> dict[str, Any]:
    return asdict(item) | {"ratio": item.ratio}


def _with_deltas(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key: _with_deltas(item) for key, item in value.items()}
        if found.keys() == {"before", "after"}:
            found["delta"] = found["after"] - found["before"]
        return found
    if isinstance(value, list | tuple):
        return [_with_deltas(item) for item in value]
    return value


def _document(kind: str, value: dict[str, Any]) -> str:
    head = {"schema_version": SCHEMA_VERSION, "kind": kind}
    # Escaped, a name that is no valid Unicode still makes a valid document.
    return json.dumps(head | value, indent=2, ensure_ascii=True) + "\n"
