"""The variables that Lambda sets for a function, and those that a function may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# API reference of Lambda, "Environment": the names of variables.
_VARIABLE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]+")
# "Reserved environment variables": a function's configuration may not set them.
_RESERVED: Final = frozenset(
    {
        *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION"),
        *("AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
        *("AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE"),
        *("AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API"),
        *("AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN"),
        *("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    }
)
#: The credentials that Lambda sets, with values that no service accepts: code may read the
#: variables when it is imported.
CREDENTIALS: Final[Mapping[str, str]] = {
    "AWS_ACCESS_KEY_ID": "ASIALAYERPACKEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "layerpack/placeholder/not/a/secret/key/0",
    "AWS_SESSION_TOKEN": "layerpack-placeholder",
}


def lambda_variables(*, name: str, runtime: str, handler: str, memory_mb: int) -> dict[str, str]:
    """The variables of AWS's "Defined runtime environment variables" that name no places, with
    placeholders for credentials."""
    return {
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": "us-east-1",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        # Link-local, as on Lambda: nothing answers there.
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": handler,
    }


def configured_variables(defined: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """`defined` variables, replaced by the user's `own`.

    Where one credential is the user's, no placeholder of another remains: a key and a foreign
    session token do not work together.
    """
    dropped = CREDENTIALS.keys() if CREDENTIALS.keys() & own.keys() else ()
    return {name: value for name, value in defined.items() if name not in dropped} | dict(own)


def variable_problem(name: str) -> str:
    """Why a function's configuration may not set a variable, as a clause; empty where it may."""
    if name in _RESERVED:
        return f"Lambda reserves the variable {name}"
    if not _VARIABLE.fullmatch(name):
        return f"Lambda takes no variable '{name}': a letter, then at least one letter, digit or _"
    return ""
