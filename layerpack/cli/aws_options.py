"""Options of the commands that talk to AWS."""

from __future__ import annotations

from typing import Annotated

import typer

Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="NAME", help="A region; repeatable (default: the configuration's)."
    ),
]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="A profile of the AWS configuration (AWS_PROFILE).")
]
EndpointUrl = Annotated[
    str, typer.Option(metavar="URL", help="Another address for AWS's services, such as LocalStack.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and stop.")]
