"""Environment variables of the programs that layerpack starts: an allow-list.

A build's bytes depend on its recipe, lock and tools, not on the shell it was started from. And code
of others (prepare scripts, sources that are compiled, workloads) gets none of the caller's
credentials. What may change bytes is fixed here, or part of a key (`compiler_variables`,
`processor_variables`).
"""

from __future__ import annotations

import os
from typing import Final

#: 1980-01-01, the earliest date a zip can hold: wheels are then equal on every day
#: (SOURCE_DATE_EPOCH is honoured by setuptools, wheel and flit; see reproducible-builds.org).
_EPOCH: Final = "315532800"
FIXED: Final = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "NO_COLOR": "1",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": _EPOCH,
    "TZ": "UTC",
}
# Where programs and their files are (an interpreter may need LD_LIBRARY_PATH to start).
_PASSED: Final = frozenset({"HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR"})
# Which processor OpenBLAS computes for, on machines where it detects another one.
_PROCESSOR: Final = frozenset({"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"})
# How pip and uv reach an index, and find its credentials. Their other variables choose how sources
# are compiled (PIP_CONFIG_SETTINGS, PIP_NO_BUILD_ISOLATION), which no key would tell, or hold
# credentials for publishing (UV_PUBLISH_TOKEN).
_INDEX: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("NETRC", "PYTHON_KEYRING_BACKEND", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
_PIP: Final = frozenset(
    f"PIP_{name}"
    for name in (
        *("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST"),
        *("CERT", "CLIENT_CERT", "PROXY", "KEYRING_PROVIDER"),
        *("TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "RESUME_RETRIES"),
        *("CONFIG_FILE", "CACHE_DIR", "NO_CACHE_DIR"),
    )
)
_UV: Final = frozenset(
    f"UV_{name}"
    for name in (
        *("DEFAULT_INDEX", "INDEX", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"),
        *("INDEX_STRATEGY", "INSECURE_HOST", "NATIVE_TLS", "SYSTEM_CERTS"),
        *("KEYRING_PROVIDER", "CREDENTIALS_DIR", "OFFLINE"),
        *("HTTP_TIMEOUT", "HTTP_CONNECT_TIMEOUT", "REQUEST_TIMEOUT", "HTTP_RETRIES"),
        *("CONFIG_FILE", "NO_CONFIG", "CACHE_DIR", "NO_CACHE"),
        # What they choose is in the lock.
        *("EXCLUDE_NEWER", "PRERELEASE", "RESOLUTION"),
    )
)
# UV_INDEX_NAME_USERNAME and _PASSWORD are the credentials of an index by its name.
_INDEX_PREFIXES: Final = ("UV_INDEX_", "XDG_", "KEYRING_")
# What chooses a compiler and its options.
_COMPILER: Final = frozenset(
    {
        *("CC", "CXX", "CPP", "FC", "F77", "F90", "LD", "LDSHARED", "AR", "NM", "RANLIB", "STRIP"),
        *("CFLAGS", "CXXFLAGS", "CPPFLAGS", "FFLAGS", "LDFLAGS", "RUSTFLAGS"),
        *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    }
)
_COMPILER_PREFIXES: Final = ("CMAKE_", "PKG_CONFIG")
# What says how fast, or where a tool's own files are.
_WORK: Final = frozenset({"MAX_JOBS", "CARGO_HOME", "RUSTUP_HOME"})


def neutral_variables() -> dict[str, str]:
    """For every program by default: fixed values, and the places of programs and files."""
    return {**_chosen(_PASSED | _PROCESSOR), **FIXED}


def tool_variables() -> dict[str, str]:
    """For tools that run no code of what they fetch, such as `pip download` of wheels: all of this
    process's, as keyrings need many, and the fixed ones."""
    return {**os.environ, **FIXED}


def building_variables() -> dict[str, str]:
    """For tools that build sources from an index: its settings and those for compilers, but no
    other credentials."""
    index = _chosen(_INDEX | _PIP | _UV, _INDEX_PREFIXES)
    return {**index, **_chosen(_WORK), **compiler_variables(), **neutral_variables()}


def compiler_variables() -> dict[str, str]:
    """This process's settings for compilers. What is compiled with them has them in its key."""
    return _chosen(_COMPILER, _COMPILER_PREFIXES)


def processor_variables() -> dict[str, str]:
    """This process's settings for the processor that OpenBLAS computes for. Each program has them
    (`neutral_variables`); what one computes has them in its key."""
    return _chosen(_PROCESSOR)


def _chosen(names: frozenset[str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in names or (prefixes and name.startswith(prefixes))
    }
