"""Whether MXNet, reduced to what a recipe's workloads run, answers as ever or says what is missing.

    python -m benchmarks.operators_recorded recipes/bert.pages [--folder DIR] [--inference]

libmxnet.so is reduced by the recording (`--inference` as with training: false) and packed. Then

- `routes`: operators that were left out are called by name, in a symbol, hybridised, by loading a
  model (as a symbol and as a block) and by mx.np and mx.npx (`operator_gone`). Each must raise
  mxnet.base.MXNetError, which names it and the recipe's key.
- `calls`: all that `operator_cases` has is called as `benchmarks.operators` does.
- `checks`: networks, training and optimisers of `stacks/mxnet_*.py` run.

Of calls and checks each must come out as in the plain tree, to the bit, or raise that error:
nothing else. Ends with 1 after any failure. `--only` names some of the three.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.operator_cases import known
from benchmarks.operators import (
    PYTHON_OPTIONS,
    Reducer,
    end_of,
    environment,
    outcomes,
    plain_tree,
    run,
)
from tests.support.packed_trees import PYTHON

_PARTS: Final = ("routes", "calls", "checks")
_ROUTES: Final = ("imperative", "symbolic", "hybridised", "loaded", "imported")
_CHECKS: Final = ("mxnet_operators", "mxnet_training")
_SECONDS: Final = 900
#: The whole text, as `layerpack.operators.reduce` has it.
_ERROR: Final = re.compile(
    r"MXNet's operator (?P<names>[\w, ]+?)(?: or one of \d+ others)? was left out of this layer: "
    r"(?:add it to mxnet\.operators in|remove mxnet\.training from) the recipe"
    r"(?:, or remove mxnet\.training where a gradient needs it)?, and build again"
)
_WAY: Final = re.compile(
    r" (?:imperative|symbol|in place|out|gradients .*|simple_bind|(?:cached |static )?block"
    r"|inference)$"
)
#: In several threads at once, as a build's user has it: what fails must not depend on it.
_SIDE_BY_SIDE: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """The plain and the reduced tree, by whose Python all runs; `gone` are the operators that were
    left out, `called` those that `calls` tries, `scratch` is for files."""

    plain: Path
    reduced: Path
    gone: frozenset[str]
    called: tuple[str, ...]
    scratch: Path


def main() -> int:
    """Try, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recording", type=Path, help="a recipe's recording (bert.pages)")
    parser.add_argument("--folder", type=Path, help="where the plain tree is kept")
    parser.add_argument("--inference", action="store_true", help="as with training: false")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--operators", nargs="+", metavar="OPERATOR", help="only these are called")
    arguments = parser.parse_args()
    if unknown := set(arguments.operators or ()) - known():
        parser.error(f"there are no cases for {', '.join(sorted(unknown))}")
    failures = 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        plain = plain_tree(arguments.folder or Path(scratch))
        reducer = Reducer(plain, training=not arguments.inference)
        recorded = json.loads(arguments.recording.read_text(encoding="utf-8"))["operators"].split()
        kept = reducer.choose(recorded).kept
        registry = reducer.operators.registry
        trees = Trees(
            plain=plain,
            reduced=reducer.tree(recorded, Path(scratch) / "reduced"),
            gone=frozenset(x for x, name in registry.aliases.items() if name not in kept),
            called=tuple(sorted(arguments.operators or known())),
            scratch=Path(scratch),
        )
        print(f"{len(kept)} of {len(registry.operators)} operators stay")
        for part in arguments.only:
            for failure in _TRIED[part](trees):
                failures += 1
                print(f"    {failure}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


def routes(trees: Trees) -> Iterator[str]:
    """Call what was left out, by every route; what fails.

    What the plain tree refuses as well is no failure, and neither is an answer: the code of some
    is all there, as it does the work of others (`calls` holds them to the plain tree's answers).
    """
    names = sorted(known() & trees.gone)
    models = trees.scratch / "models"
    models.mkdir()
    saved = _told_by(trees.plain, "saved", models, names)
    with_model = [name for name in names if not saved[name]["error"]]
    for route in (*_ROUTES, "numpy"):
        asked = with_model if route in ("loaded", "imported") else names
        asked = [] if route == "numpy" else asked
        told = _told_by(trees.reduced, route, models, asked)
        rows = {name: row for name, row in told.items() if name in trees.gone}
        kinds: dict[str, list[str]] = {"raise": [], "answer": [], "refused": [], "failed": []}
        other = {n: r for n, r in rows.items() if not _ERROR.search(r["text"])}
        plain = _told_by(trees.plain, route, models, [n for n in asked if n in other])
        for name, row in rows.items():
            if row["error"] == "MXNetError" and name not in other:
                kinds["raise"].append(name)
            elif name in other and not row["error"]:
                kinds["answer"].append(name)
            elif row == plain[name]:
                kinds["refused"].append(name)
            else:
                kinds["failed"].append(name)
                yield f"{route} {name}: {row['error']} {row['text'][:300]}"
        print(
            f"{route}: of {len(rows)} that were left out {len(kinds['raise'])} raise the error; "
            f"answered: {' '.join(kinds['answer']) or 'none'}; refused as in the plain tree: "
            f"{' '.join(kinds['refused']) or 'none'}"
        )


def _told_by(tree: Path, route: str, models: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """What a tree says by a route, by operator; the process's end for those that it did not get
    to."""
    ended = subprocess.run(
        [PYTHON, *PYTHON_OPTIONS, "-m", "benchmarks.operator_gone", route, str(models), *names],
        env=environment(tree),
        cwd=models,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    rows = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    found = {row["name"]: row for row in rows}
    how = f"code {ended.returncode}: {ended.stderr[-600:]}"
    return {
        **{name: {"name": name, "error": "the process ended", "text": how} for name in names},
        **found,
    }


def calls(trees: Trees) -> Iterator[str]:
    """Call operators that there are cases for; what fails."""
    names = trees.called
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for name, found in zip(
            names, pool.map(lambda one: _called(trees, one), names), strict=True
        ):
            for call, (kind, text) in found.items():
                counts[kind] += 1
                if kind == "failed":
                    yield f"{name} {call}: {text}"
    print(f"calls of {len(names)} operators: {dict(counts)}")


def _called(trees: Trees, name: str) -> dict[str, tuple[str, str]]:
    """What an operator's calls came to, by call: (`equal` or `left out` or `failed`, how)."""
    reduced = outcomes(trees.reduced, name, trees.scratch)
    if all(_ERROR.search(outcome) for outcome in reduced.values()):
        return dict.fromkeys(reduced, ("left out", ""))
    plain = outcomes(trees.plain, name, trees.scratch)
    found = _sorted(plain, reduced)
    if any(kind == "failed" for kind, _ in found.values()):
        # Some read memory that nothing was written to: no two runs are the same.
        again = outcomes(trees.plain, name, trees.scratch)
        for call, (kind, _) in list(found.items()):
            if kind == "failed" and again.get(call) != plain.get(call):
                found[call] = ("unsettled", "")
    return found


def _sorted(plain: Mapping[str, str], reduced: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for call in {**plain, **reduced}:
        one, other = plain.get(call, "not made"), reduced.get(call, "not made")
        if _ERROR.search(other):
            found[call] = ("left out", "")
        elif one == other or (end_of(one) and end_of(one) == end_of(other)):
            found[call] = ("equal", "")
        elif call not in reduced and any(
            _ERROR.search(text) for key, text in reduced.items() if _case(key) == _case(call)
        ):
            # The ways to call it are tried only where the first one answers.
            found[call] = ("left out", "")
        else:
            found[call] = ("failed", f"\n      plain:   {one}\n      reduced: {other}")
    return found


def _case(call: str) -> str:
    """A call's name without the way."""
    return _WAY.sub("", call)


def checks(trees: Trees) -> Iterator[str]:
    """Run the checks of MXNet's stack; what fails."""
    for module in _CHECKS:
        both = []
        for tree in (trees.plain, trees.reduced):
            with tempfile.TemporaryDirectory(dir=trees.scratch) as folder:
                results = Path(folder) / "results.jsonl"
                command = ["-m", f"benchmarks.stacks.{module}", str(results)]
                how = run(tree, command, Path(folder), _SECONDS)
                rows = map(json.loads, results.read_text().splitlines())
                both.append({row["id"]: row["outcome"] for row in rows})
                if how:
                    yield f"{module}: {'plain' if tree == trees.plain else 'reduced'} ended: {how}"
        found = _sorted(*both)
        print(f"{module}: {dict(Counter(kind for kind, _ in found.values()))}")
        for check, (kind, text) in found.items():
            if kind == "failed":
                yield f"{module} {check}: {text}"


_TRIED: Final = {"routes": routes, "calls": calls, "checks": checks}

if __name__ == "__main__":
    sys.exit(main())
