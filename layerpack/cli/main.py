"""The `layerpack` command: its commands, and what happens to their errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import textwrap
import traceback
from typing import Annotated

import typer

from layerpack import __version__
from layerpack.cli.build import build
from layerpack.cli.diff import diff
from layerpack.cli.doctor import doctor
from layerpack.cli.explain import explain
from layerpack.cli.export import export
from layerpack.cli.invoke import invoke
from layerpack.cli.list_ import list_layers
from layerpack.cli.lock import lock
from layerpack.cli.passes import passes
from layerpack.cli.prune import prune
from layerpack.cli.publish import publish
from layerpack.cli.schema import schema
from layerpack.cli.serve import serve
from layerpack.cli.size_report import size_report
from layerpack.cli.verify import verify
from layerpack.errors import BuildToolError, LayerpackError

app = typer.Typer(
    name="layerpack",
    help="Pack machine-learning stacks into AWS Lambda layers that fit, with nothing lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in plain text: rich alone would take as long as all the rest of it.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
building = (build, lock, verify, invoke, serve, size_report, explain, diff)
for command in (*building, publish, prune, export, passes, schema, doctor):
    app.command()(command)
app.command("list")(list_layers)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"layerpack {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line; the process ends with the documented exit code.

    Ctrl-C is typer's: it ends with 130.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a bar or a name still gets the report.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # `kill` cleans up as Ctrl-C does: child processes end, scratch goes.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        # nohup has it ignored.
        if signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except LayerpackError as error:
        _end(error)
    except BrokenPipeError:
        # Whoever read the output has gone: what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        known = _file_error(error)
        if known is None:
            _bug()
        else:
            _end(known)
    except Exception:
        _bug()


def _end(error: LayerpackError) -> None:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    label = "\033[1;31merror:\033[0m" if colour else "error:"
    sys.stderr.write(f"{label} {error.message}\n")
    if error.hint:
        sys.stderr.write(textwrap.indent(error.hint, "  ") + "\n")
    sys.exit(error.exit_code)


def _file_error(error: OSError) -> LayerpackError | None:
    """What the file system refused, as a message; None for what only a bug can cause."""
    where = error.filename2 or error.filename or "the cache or the output folder"
    hints = {
        errno.ENOSPC: "Free some space, or choose another --cache-dir or --output.",
        errno.EDQUOT: "The quota is used up: free some space, or choose another place.",
        errno.EACCES: "Choose a --cache-dir and an --output that may be written.",
        errno.EPERM: "Choose a --cache-dir and an --output that may be written.",
        errno.EROFS: "Choose a --cache-dir and an --output that may be written.",
        errno.ENAMETOOLONG: "Choose an --output with a shorter path.",
        errno.ENOTDIR: "A file stands where a folder is needed.",
        errno.EEXIST: "A file stands where a folder is needed.",
        errno.EIO: "The disk or file system failed.",
    }
    if error.errno not in hints:
        return None
    return BuildToolError(f"{where}: {os.strerror(error.errno)}", hints[error.errno])


def _bug() -> None:
    traceback.print_exc()
    sys.stderr.write(
        f"\nThis is a bug in layerpack {__version__}, not a mistake of yours. Please report the "
        "lines above.\n"
    )
    sys.exit(1)
