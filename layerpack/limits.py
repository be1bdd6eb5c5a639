"""Lambda's limits and runtimes, as values read from data/."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NoReturn

from layerpack import data

Architecture = Literal["x86_64", "arm64"]

# Lambda's architecture names -> the machine names that wheel tags and uname use.
MACHINES: dict[Architecture, str] = {"x86_64": "x86_64", "arm64": "aarch64"}


#: What a function gets unless told otherwise, in MB: the size that brings a whole processor.
MEMORY_MB: Final = 1769
#: The most that a function can have, in MB.
LARGEST_MEMORY_MB: Final = 10240


@dataclass(frozen=True, kw_only=True, slots=True)
class LambdaLimits:
    """Lambda's quotas, in bytes (data/limits.json).

    `unzipped_bytes` is for function and layers together and must stay strictly above what is
    deployed; `function_budget_bytes` is layerpack's own budget for the function's code;
    `environment_bytes` is for all variables of a function together; `event_bytes` and
    `asynchronous_event_bytes` are for an invocation's event.
    """

    unzipped_bytes: int
    layers: int
    direct_upload_zip_bytes: int
    function_budget_bytes: int
    environment_bytes: int
    event_bytes: int
    asynchronous_event_bytes: int

    @classmethod
    def load(cls) -> LambdaLimits:
        """The limits of data/limits.json."""
        facts = data.load("limits.json")
        return cls(**{name: int(facts[name]) for name in cls.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeProfile:
    """What a Lambda runtime offers on one architecture (data/runtimes.json).

    `versions` maps a family of symbol versions (GLIBC, GLIBCXX, CXXABI, GCC) to the highest that
    the runtime's libraries define; `deprecated` is when AWS stops supporting it; `libraries` are
    the sonames it provides.
    """

    runtime: str
    architecture: Architecture
    system: str
    deprecated: date
    versions: dict[str, tuple[int, ...]]
    libraries: frozenset[str]
    distributions: frozenset[str]

    @classmethod
    def load(cls, runtime: str, architecture: Architecture) -> RuntimeProfile:
        """The profile of `runtime` (such as python3.12). Raises KeyError for an unknown one."""
        facts = data.load("runtimes.json")
        entry = facts["runtimes"][runtime]
        provided = facts["provided_libraries"]
        return cls(
            runtime=runtime,
            architecture=architecture,
            system=entry["system"],
            deprecated=date.fromisoformat(entry["deprecated"]),
            versions={
                family: version_tuple(text)
                for family, text in facts["systems"][entry["system"]]["versions"].items()
            },
            libraries=frozenset(provided["all"] + provided[architecture]),
            distributions=frozenset(facts["provided_distributions"]),
        )

    @property
    def python(self) -> str:
        """The Python version, such as `3.12`."""
        return self.runtime.removeprefix("python")

    @property
    def python_version(self) -> tuple[int, int]:
        """The Python version, such as (3, 12)."""
        major, minor = self.python.split(".")
        return int(major), int(minor)

    @property
    def machine(self) -> str:
        """The machine name of wheel tags and uname: x86_64 or aarch64."""
        return MACHINES[self.architecture]

    @property
    def glibc(self) -> tuple[int, int]:
        """The runtime's glibc version, such as (2, 34)."""
        major, minor = self.versions["GLIBC"][:2]
        return major, minor

    @property
    def wheel_platforms(self) -> tuple[str, ...]:
        """Platform tags that the runtime can load, best first (PEP 600 and its older aliases)."""
        major, newest = self.glibc
        # PEP 600: manylinux_2_5 (x86_64) and manylinux_2_17 (aarch64) are the oldest in use.
        oldest = 5 if self.machine == "x86_64" else 17
        aliases = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        tags = []
        for minor in range(newest, oldest - 1, -1):
            tags.append(f"manylinux_{major}_{minor}_{self.machine}")
            if minor in aliases:
                tags.append(f"{aliases[minor]}_{self.machine}")
        return (*tags, f"linux_{self.machine}")


def this_machine() -> str:
    """This machine's name as uname and wheel tags have it: x86_64, aarch64, or another.

    With its system where that is not Linux: no program of a runtime's starts there.
    """
    machine = platform.machine().lower()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return name if sys.platform == "linux" else f"{name} ({platform.system()})"


def event_problem(content: bytes) -> str:
    """Why Lambda does not take an event, as a clause; empty if it does."""
    most = LambdaLimits.load().event_bytes
    if len(content) > most:
        return f"has {len(content):,} bytes, and Lambda takes {most:,}"
    problem = json_problem(content)
    return f"is not JSON: {problem}" if problem else ""


def environment_problem(variables: Mapping[str, str]) -> str:
    """Why Lambda does not take a function's variables together, as a clause; empty if it does."""
    most = LambdaLimits.load().environment_bytes
    text = json.dumps(dict(variables), ensure_ascii=False, separators=(",", ":"))
    taken = len(text.encode())
    if taken <= most:
        return ""
    return f"all variables together have {taken:,} bytes as JSON, and Lambda takes {most:,}"


def json_problem(text: bytes) -> str:
    """Why a text is not JSON in UTF-8 (NaN and Infinity, which Python reads, are not); empty if it
    is."""
    try:
        json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON value")


def runtimes() -> tuple[str, ...]:
    """The known runtime identifiers, oldest first."""
    return tuple(data.load("runtimes.json")["runtimes"])


def version_tuple(text: str) -> tuple[int, ...]:
    """`3.4.29` -> (3, 4, 29)."""
    return tuple(int(part) for part in text.split("."))
