"""Options of the commands that talk to AWS."""

from __future__ import annotations

from typing import Annotated

import typer

from layerpack.errors import UsageError

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
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and stop.")]


def given(option: str, value: str | None) -> str:
    """An option's value, empty where it is not given.

    Raises UsageError for one that is given as empty: a variable of a script that is not set.
    """
    if value == "":
        raise UsageError(f"{option} is empty", "Leave it out, or give it a value.")
    return value or ""
