"""`layerpack build`."""

from __future__ import annotations

from typing import Annotated

import typer

from layerpack.cli.options import (
    BaseImage,
    BuilderName,
    BuilderOption,
    CacheDir,
    Format,
    FormatOption,
    Output,
    Quiet,
    RecipePath,
    Verbose,
)

_Locked = Annotated[bool, typer.Option("--locked", help="Fail where the lock is absent or stale.")]
_Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        envvar="LAYERPACK_VERIFY",
        help="Whether to prove that the layers behave as the plain install does.",
    ),
]
_RequireVerified = Annotated[
    bool,
    typer.Option(
        "--require-verified",
        help="Fail where the layers, or a level of `cpu`, cannot be verified.",
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, and build nothing.")]


def build(
    recipe: RecipePath,
    output: Output = None,
    locked: _Locked = False,
    builder: BuilderOption = BuilderName.AUTO,
    base_image: BaseImage = "",
    verify: _Verify = True,
    require_verified: _RequireVerified = False,
    dry_run: _DryRun = False,
    format_: FormatOption = Format.TABLE,
    quiet: Quiet = False,
    verbose: Verbose = False,
    cache_dir: CacheDir = None,
) -> None:
    """Build a recipe into layers.

    Prints their sizes against the limits.

    Exit codes: 0 done, 3 built but over a limit, 4 recipe, 5 resolve or download, 6 build tool,
    7 verification.
    """
    from layerpack import pipeline
    from layerpack.builders.choose import Wish
    from layerpack.cache import Cache
    from layerpack.cli.render import print_plan, print_report
    from layerpack.cli.reporter import Reporter
    from layerpack.report.model import size_report

    options = pipeline.BuildOptions(
        cache=Cache.at(cache_dir),
        output=output,
        locked=locked,
        verify=verify,
        required=require_verified,
        wish=Wish(builder=builder.value, base_image=base_image),
    )
    if dry_run:
        print_plan(pipeline.describe(recipe, options), format_)
        return
    with Reporter(quiet=quiet, verbose=verbose) as reporter:
        result = pipeline.build(recipe, options, reporter.events)
    reporter.tell(
        f"{'nothing changed' if result.fresh else 'built'}: {result.folder} "
        f"(open {result.folder / 'report.html'})"
    )
    print_report(size_report(result.manifest, result.inventory), format_)
