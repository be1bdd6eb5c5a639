"""Options of the commands that talk to AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from layerpack.errors import UsageError

if TYPE_CHECKING:
    from layerpack.publish.aws import Aws

Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="NAME", help="A region; repeatable (default: the configuration's)."
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A profile of the AWS configuration (AWS_PROFILE)."),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Another address for AWS's services, such as LocalStack."),
]
LayerNames = Annotated[
    list[str] | None,
    typer.Option("--layer", metavar="NAME", help="A layer by its name, instead; repeatable."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the planned changes, and stop.")]


def given(option: str, value: str | None) -> str:
    """An option's value, empty where it is not given.

    Raises UsageError for one that is given as empty: a variable of a script that is not set.
    """
    if value == "":
        raise UsageError(f"{option} is empty", "Leave it out, or give it a value.")
    return value or ""


def open_aws(profile: str | None, endpoint_url: str | None) -> Aws:
    """AWS, as the options name it. Raises UsageError."""
    from layerpack.publish.aws import Access, Aws

    return Aws(
        Access(
            profile=given("--profile", profile), endpoint_url=given("--endpoint-url", endpoint_url)
        )
    )
