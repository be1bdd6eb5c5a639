"""Run passes: plan each, check its plan, apply it, and measure what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from layerpack.errors import LayerpackError, RecipeError
from layerpack.manifest import PassRecord
from layerpack.passes.api import (
    KEPT,
    Add,
    Edit,
    Keep,
    Pass,
    PassContext,
    Remark,
    Remove,
    Rewrite,
)
from layerpack.passes.patterns import matcher
from layerpack.payload import FileEntry, Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The payload after all passes, a remark for each edit, a record for each pass; `payloads` is
    what each left, in the same order."""

    payload: Payload
    remarks: tuple[Remark, ...]
    records: tuple[PassRecord, ...]
    payloads: tuple[Payload, ...] = ()


def run_passes(
    payload: Payload,
    passes: Iterable[Pass],
    context: PassContext,
    prepare: Callable[[Pass, Payload, PassContext], PassContext] = lambda *given: given[2],
) -> Outcome:
    """Run `passes` in the order given. `context.room` is that of the incoming payload.

    Before each pass `prepare(pass, payload, context)` gives the context to run it with, and may
    find out on that payload what the context lacks. Raises ValueError for a plan that contradicts
    itself or the payload, which is a bug of the pass.
    """
    remarks: list[Remark] = []
    records = []
    payloads = []
    protected = matcher(context.recipe.strip.keep)
    for item in passes:
        before = payload
        context = prepare(item, before, context)
        edits = _planned(item, before, context, protected)
        payload = applied(before, edits)
        payloads.append(payload)
        remarks.extend(_remark(item, edit, before, payload) for edit in edits)
        records.append(
            PassRecord(
                name=item.name,
                files=sum(not isinstance(edit, Keep) for edit in edits),
                bytes_before=before.size,
                bytes_after=payload.size,
            )
        )
        context = replace(context, room=context.room + before.size - payload.size)
    return Outcome(
        payload=payload,
        remarks=tuple(remarks),
        records=tuple(records),
        payloads=tuple(payloads),
    )


def _planned(
    item: Pass, payload: Payload, context: PassContext, protected: Callable[[Payload, str], bool]
) -> list[Edit]:
    """A pass's plan, checked. A pass of the recipe's own that fails is the recipe's fault."""
    try:
        return _checked(item, payload, item.plan(payload, context), protected)
    except LayerpackError:
        raise
    except Exception as error:
        if type(item).__module__.startswith(__package__ or ""):
            raise
        raise RecipeError(
            f"{context.recipe.path}: the pass '{item.name}' failed: {type(error).__name__}: {error}"
        ) from error


def _checked(
    item: Pass, payload: Payload, edits: Iterable[Edit], protected: Callable[[Payload, str], bool]
) -> list[Edit]:
    """The edits, with those of protected files turned into Keep. Raises ValueError for a bug."""
    seen: set[str] = set()
    result: list[Edit] = []
    for edit in edits:
        if edit.path in seen:
            raise ValueError(f"pass '{item.name}' plans two edits of {edit.path}")
        seen.add(edit.path)
        if isinstance(edit, Add) == (edit.path in payload):
            state = "exists" if isinstance(edit, Add) else "does not exist"
            raise ValueError(
                f"pass '{item.name}': {type(edit).__name__} of {edit.path}, which {state}"
            )
        if isinstance(edit, Remove | Rewrite) and protected(payload, edit.path):
            result.append(Keep(path=edit.path, reason=KEPT))
        else:
            result.append(edit)
    return result


def applied(payload: Payload, edits: Sequence[Edit]) -> Payload:
    """The payload after `edits`; the same one where they change nothing."""
    added: list[FileEntry] = [edit.entry for edit in edits if isinstance(edit, Add)]
    added += [
        payload[edit.path].with_content(edit.source) for edit in edits if isinstance(edit, Rewrite)
    ]
    removed = [edit.path for edit in edits if isinstance(edit, Remove)]
    return payload.updated(add=added, remove=removed) if added or removed else payload


def _remark(item: Pass, edit: Edit, before: Payload, after: Payload) -> Remark:
    old, new = before.get(edit.path), after.get(edit.path)
    entry = new or before[edit.path]
    action: Literal["remove", "rewrite", "add", "keep"]
    match edit:
        case Remove():
            action = "remove"
        case Rewrite():
            action = "rewrite"
        case Add():
            action = "add"
        case Keep():
            action = "keep"
    return Remark(
        pass_name=item.name,
        action=action,
        path=edit.path,
        distribution=entry.distribution,
        reason=edit.reason,
        bytes_before=old.size if old else 0,
        bytes_after=new.size if new else 0,
        paged=edit.paged if isinstance(edit, Rewrite) else None,
    )
