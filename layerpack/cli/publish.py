"""`layerpack publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerpack.cli.aws_options import DryRun, EndpointUrl, Profile, Regions, Yes, given, open_aws
from layerpack.cli.options import Format, FormatOption, Quiet, Verbose
from layerpack.errors import UsageError
from layerpack.limits import MEMORY_MB
from layerpack.publish.defaults import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from layerpack.publish.function import FunctionWish

_Bucket = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The bucket for zips over 50 MB; {region} and {account} stand for these "
        "(default: layerpack-{account}-{region}, or one with the tag 'layerpack').",
    ),
]
_FunctionName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Give this function the layers and the code.")
]
_Role = Annotated[
    str | None, typer.Option(metavar="ARN", help="The function's role; a new one needs it.")
]
_Memory = Annotated[
    int | None,
    typer.Option(
        min=128,
        max=10240,
        help=f"MB of memory for the function (default for a new one: {MEMORY_MB}).",
    ),
]
_Timeout = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=900,
        help=f"The function's timeout, in seconds (default for a new one: {TIMEOUT_SECONDS}).",
    ),
]
_Alias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Publish a version, and move this alias to it."),
]
_SnapStart = Annotated[
    bool,
    typer.Option("--snap-start", help="Switch SnapStart on (alias: 'live', unless named)."),
]
_Accounts = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Share the layers with an account; repeatable."),
]
_Organizations = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Share the layers with an organization; repeatable."),
]
_Public = Annotated[
    bool, typer.Option("--public", help="Let everybody use the layers (asks first).")
]


def publish(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    region: Regions = None,
    bucket: _Bucket = None,
    function: _FunctionName = None,
    role: _Role = None,
    memory: _Memory = None,
    timeout: _Timeout = None,
    alias: _Alias = None,
    snap_start: _SnapStart = False,
    account: _Accounts = None,
    organization: _Organizations = None,
    public: _Public = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send a build's layers to AWS, and give them to a function.

    A layer whose latest version is the same is reused; what an earlier run published is not sent
    again. With --function the function is invoked with the recipe's workloads, and taken back to
    what it was where it does not answer as verified.

    Exit codes: 0 published, 2 usage, 3 over a limit, 8 a region failed.
    """
    from layerpack.build_folder import BuildFolder
    from layerpack.cli.builds import find_build
    from layerpack.cli.render_publish import print_outcomes, print_publish_plan
    from layerpack.cli.reporter import Reporter
    from layerpack.publish import run
    from layerpack.publish.bucket import check_name
    from layerpack.publish.checks import sendable
    from layerpack.publish.function import check_wish
    from layerpack.publish.look import Wish
    from layerpack.publish.share import shares_of

    wish = Wish(
        function=_function_wish(function, role, memory, timeout, alias, snap_start),
        bucket=given("--bucket", bucket),
        shares=tuple(shares_of(account or [], organization or [], public)),
    )
    if wish.bucket:
        check_name(wish.bucket)
    folder = find_build(build).folder
    reporter = Reporter(quiet=quiet, verbose=verbose)
    with BuildFolder(folder).published(
        lambda: reporter.tell(f"waiting for what works on {folder}")
    ):
        with reporter:
            ready = sendable(folder, reporter.events)
            if wish.function:
                check_wish(wish.function, ready.manifest)
            aws = open_aws(profile, endpoint_url)
            regions = aws.regions(region or [])
            plans = run.plan(ready, regions, wish, aws, reporter.events)
        for plan in plans:
            for remark in plan.remarks:
                reporter.events.note(f"{plan.region}: {remark}")
        if dry_run:
            print_publish_plan(plans, format_)
            outcomes = [run.not_begun(plan) for plan in plans]
        else:
            if public and not yes:
                _ask_for_everybody(len(ready.layers), regions)
            with reporter:
                outcomes = run.publish(ready, plans, wish, aws, reporter.events)
            print_outcomes(outcomes, format_)
    if error := run.outcome_error(outcomes):
        raise error


def _function_wish(
    name: str | None,
    role: str | None,
    memory: int | None,
    timeout: int | None,
    alias: str | None,
    snap_start: bool,
) -> FunctionWish | None:
    """What the options ask of the function, None without one. Raises UsageError for options of a
    function that is not named, and for empty ones."""
    from layerpack.publish.function import FunctionWish

    wish = FunctionWish(
        name=given("--function", name),
        role=given("--role", role),
        memory=memory,
        timeout=timeout,
        alias=given("--alias", alias),
        snap_start=snap_start,
    )
    if wish.name:
        return wish
    if role or memory or timeout or alias or snap_start:
        raise UsageError(
            "--role, --memory, --timeout, --alias and --snap-start are for a function",
            "Name it with --function.",
        )
    return None


def _ask_for_everybody(layers: int, regions: tuple[str, ...]) -> None:
    """Raises UsageError where nobody can be asked, or the answer is no."""
    from layerpack.cli.confirm import confirm

    confirm(
        f"Let everybody in the world use {layers} layers in {', '.join(regions)}?",
        "--public asks first, and nobody can be asked here",
    )
