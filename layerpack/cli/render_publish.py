"""What publishing plans, did, and finds in an account, on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from layerpack.cli.options import Format
from layerpack.cli.render import console, print_json
from layerpack.publish.plan import RegionPlan, plan_json
from layerpack.publish.prune import RegionStock
from layerpack.publish.run import RegionOutcome, outcomes_json
from layerpack.publish.stocks import state_of, stock_json
from layerpack.report import terminal_parts as parts
from layerpack.units import human_size

_WAYS = {"reuse": "is there already", "direct": "goes in the request", "s3": "goes through S3"}


def print_publish_plan(plans: Sequence[RegionPlan], format_: Format) -> None:
    """What `publish --dry-run` found."""
    if format_ is Format.JSON:
        print_json(plan_json(plans))
        return
    out = console()
    for plan in plans:
        _title(out, plan.region, plan.account)
        if plan.error:
            _failed(out)
            continue
        table = parts.new_table("Layer", ">Zipped", "What happens", "Latest version there")
        for layer in plan.layers:
            table.add_row(
                parts.plain(layer.artifact.name),
                human_size(layer.artifact.zipped_bytes),
                _WAYS[layer.way],
                str(layer.latest.version) if layer.latest else "none",
            )
        parts.print_table(table, out)
        if plan.bucket:
            out.print(Text(f"Bucket: {plan.bucket.name}"))
        if plan.function:
            changes = f" ({', '.join(plan.function.changes)})" if plan.function.changes else ""
            out.print(Text(f"Function {plan.function.name}: {plan.function.action}{changes}"))
            for arn in plan.function.keeps:
                out.print(Text(f"  keeps {arn}"))
            for arn in plan.function.drops:
                out.print(Text(f"  drops {arn}"))
        if plan.shares:
            out.print(Text(f"Shared with: {', '.join(map(str, plan.shares))}"))
        for remark in plan.remarks:
            out.print(Text(f"Note: {remark}", style=parts.DIM))
    total = sum(plan.bytes_to_send for plan in plans)
    if total or not any(plan.error for plan in plans):
        out.print()
        out.print(Text(f"To send: {human_size(total)}." if total else "There is nothing to send."))


def print_outcomes(outcomes: Sequence[RegionOutcome], format_: Format) -> None:
    """What `publish` did."""
    if format_ is Format.JSON:
        print_json(outcomes_json(outcomes))
        return
    out = console()
    for one in outcomes:
        _title(out, one.region, one.account)
        for layer in one.layers:
            shared = f", shared with {', '.join(layer.shared)}" if layer.shared else ""
            # Whole on any terminal: it is there to be copied.
            out.print(Text(f"{layer.state:<9}  {layer.arn or layer.name}{shared}"), soft_wrap=True)
        if one.function:
            version = f", version {one.function.version}" if one.function.version else ""
            alias = f", alias {one.function.alias}" if one.function.alias else ""
            words = f"Function {one.function_name}: {one.did_to_function}{version}{alias}"
            out.print(Text(words), soft_wrap=True)
        for arn in one.drops:
            out.print(Text(f"  taken off it: {arn}"), soft_wrap=True)
        if one.error:
            _failed(out)
        elif one.did_nothing:
            out.print(Text("Nothing to do: all of it is there already."))


def print_stock(
    found: Sequence[RegionStock], format_: Format, *, done: bool = False, to_errors: bool = False
) -> None:
    """The layer versions of an account; `done`: what was to go was deleted; `to_errors`: beside the
    result, on standard error."""
    if format_ is Format.JSON:
        print_json(stock_json(found))
        return
    out = Console(file=sys.stderr) if to_errors else console()
    for one in found:
        _title(out, one.region, "")
        if one.error:
            _failed(out)
        table = parts.new_table("Layer", ">Version", "Created", "Runtimes", "Used by", "")
        for item in one.standing:
            version = item.version
            state = state_of(one, version.arn)
            table.add_row(
                parts.plain(version.layer),
                str(version.version),
                version.created[:10],
                ", ".join((*version.runtimes, *version.architectures)),
                parts.plain(_users(item.users)),
                {"stays": "", "goes": "goes", "gone": "deleted"}[state],
            )
        if one.standing:
            parts.print_table(table, out)
        elif not one.error:
            out.print(Text("No versions."))
        if done and not one.error and not one.gone:
            out.print(Text("Nothing to delete."))


def _users(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _title(out: Console, region: str, account: str) -> None:
    out.print()
    out.print(Text(f"{region}, account {account}" if account else region, style="bold"))


def _failed(out: Console) -> None:
    """(Why stands in the error, which comes last.)"""
    out.print(Text("Failed.", style=parts.BAD))
