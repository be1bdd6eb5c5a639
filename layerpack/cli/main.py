"""The `layerpack` command: its commands, and what happens to their errors."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from layerpack import __version__, process
from layerpack.cli import streams
from layerpack.cli.build import build
from layerpack.cli.cache import cache_app
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
from layerpack.units import ASIDE

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
app.add_typer(cache_app, name="cache")


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
    streams.prepare()
    process.take_charge()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has one ignored, a shell that starts it in the background the other.
        if signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, _end_by)
        elif ending is signal.SIGINT:
            # Still ignored here; but programs that are started inherit what is ignored, and not
            # what is handled.
            signal.signal(ending, lambda number, frame: None)
    try:
        try:
            app()
        except LayerpackError:
            raise
        except BaseException:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except LayerpackError as error:
        _end(error)
    except BrokenPipeError:
        # The reader of the output has gone.
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        refused = _copying_error(error)
        if refused.errno is None:
            _bug()
        _end(_system_error(refused))
    except Exception:
        _bug()
    finally:
        process.end_rest()


def _end_by(number: int, frame: FrameType | None) -> None:
    """`kill` cleans up as Ctrl-C does: child processes end, scratch goes."""
    process.end_all()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _end(error: LayerpackError) -> NoReturn:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    label = "\033[1;31merror:\033[0m" if colour else "error:"
    sys.stderr.write(f"{label} {error.message}\n")
    if error.hint:
        sys.stderr.write(textwrap.indent(error.hint, "  ") + "\n")
    sys.exit(error.exit_code)


def _copying_error(error: OSError) -> OSError:
    """The first error of those that shutil.copytree collected; others as they are."""
    rows = error.args[0] if isinstance(error, shutil.Error) else ()
    for _, copy, why in rows if isinstance(rows, list) else ():
        if match := re.match(r"\[Errno (\d+)\] ([^:]+)", str(why)):
            return OSError(int(match[1]), match[2], str(copy))
    return error


def _system_error(error: OSError) -> LayerpackError:
    """What the system refused, as a message: no file's absence or state is a bug by itself."""
    where = error.filename2 or error.filename
    reason = error.strerror or str(error)
    if where and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place, another = _place_of(Path(os.fsdecode(where)))
        return BuildToolError(f"{where}: {reason}{place}", f"Free some space, or {another}.")
    choose = "Check its permissions, or choose another place by --cache-dir or --output."
    hints = {
        errno.ENOSPC: "Free some space, or choose another --cache-dir or --output.",
        errno.EDQUOT: "The quota is used up: free some space, or choose another place.",
        **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), choose),
        errno.ENAMETOOLONG: "Choose a shorter path.",
        errno.ENOTDIR: "A file stands where a folder is needed.",
        errno.EEXIST: "A file stands where a folder is needed.",
        errno.EISDIR: "A folder stands where a file is needed.",
        errno.ENOENT: "If it was removed while layerpack ran, run it again.",
        errno.EIO: "The disk or file system failed.",
    }
    message = f"{where}: {reason}" if where else reason
    return BuildToolError(message, hints.get(error.errno or 0, ""))


def _place_of(path: Path) -> tuple[str, str]:
    """What a path is in, in words, and how to have another place for it."""
    from layerpack.cache import cache_above

    if cache := cache_above(path):
        return f" (in the cache {cache})", "choose another --cache-dir"
    if any(part.startswith(("layerpack-", ASIDE)) for part in path.parts):
        # It looks for a folder that it can write to.
        with suppress(OSError):
            if path.is_relative_to(temporary := tempfile.gettempdir()):
                return f" (among temporary files in {temporary})", "set TMPDIR to another folder"
    return "", "choose another place"


def _bug() -> NoReturn:
    traceback.print_exc()
    sys.stderr.write(
        f"\nThis is a bug in layerpack {__version__}, not a mistake of yours. Please report the "
        "lines above.\n"
    )
    sys.exit(1)
