"""`layerpack publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerpack.cli.aws_options import DryRun, EndpointUrl, Profile, Regions, Yes, given, open_aws
from layerpack.cli.options import Format, FormatOption, Quiet, Verbose
from layerpack.publish.defaults import MEMORY_MB, TIMEOUT_SECONDS

_MEMORY = f"MB of memory for the function (default for a new one: {MEMORY_MB})."
_TIMEOUT = f"The function's timeout, in seconds (default for a new one: {TIMEOUT_SECONDS})."


def publish(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="A build folder, or its recipe.")],
    region: Regions = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The bucket for zips over 50 MB; {region} and {account} stand for these "
            "(default: layerpack-{account}-{region}, or one with the tag 'layerpack').",
        ),
    ] = None,
    function: Annotated[
        str | None, typer.Option(metavar="NAME", help="Give this function the layers and the code.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="ARN", help="The function's role; a new one needs it.")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=128, max=10240, help=_MEMORY)] = None,
    timeout: Annotated[
        int | None,
        typer.Option(min=1, max=900, help=_TIMEOUT),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Publish a version, and move this alias to it."),
    ] = None,
    snap_start: Annotated[
        bool,
        typer.Option("--snap-start", help="Switch SnapStart on (alias: 'live', unless named)."),
    ] = False,
    account: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Share the layers with an account; repeatable."),
    ] = None,
    organization: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Share the layers with an organization; repeatable."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody use the layers (asks first).")
    ] = False,
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
    from layerpack.errors import UsageError
    from layerpack.publish import run
    from layerpack.publish.bucket import check_name
    from layerpack.publish.checks import sendable
    from layerpack.publish.function import FunctionWish, check_wish
    from layerpack.publish.look import Wish
    from layerpack.publish.share import shares_of

    wished = FunctionWish(
        name=given("--function", function),
        role=given("--role", role),
        memory=memory,
        timeout=timeout,
        alias=given("--alias", alias),
        snap_start=snap_start,
    )
    if not wished.name and (role or memory or timeout or alias or snap_start):
        raise UsageError(
            "--role, --memory, --timeout, --alias and --snap-start are for a function",
            "Name it with --function.",
        )
    wish = Wish(
        bucket=given("--bucket", bucket),
        shares=tuple(shares_of(account or [], organization or [], public)),
        function=wished if function else None,
    )
    if wish.bucket:
        check_name(wish.bucket)
    found = find_build(build)
    reporter = Reporter(quiet=quiet, verbose=verbose)
    folder = BuildFolder(found.folder)
    with folder.published(lambda: reporter.tell(f"waiting for what works on {found.folder}")):
        with reporter:
            ready = sendable(found.folder, reporter.events)
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


def _ask_for_everybody(layers: int, regions: tuple[str, ...]) -> None:
    """Raises UsageError where nobody can be asked, or the answer is no."""
    from layerpack.cli.confirm import confirm

    confirm(
        f"Let everybody in the world use {layers} layers in {', '.join(regions)}?",
        "--public asks first, and nobody can be asked here",
    )
