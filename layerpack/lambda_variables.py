"""The variables that Lambda sets for a function, and those that a function may have."""

from __future__ import annotations

import re
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
        *("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    }
)


def lambda_variables(*, name: str, runtime: str, handler: str, memory_mb: int) -> dict[str, str]:
    """Those of AWS's "Defined runtime environment variables" that do not tell of places, and no
    credentials."""
    return {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": "us-east-1",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": handler,
    }


def variable_problem(name: str) -> str:
    """Why a function's configuration may not set a variable, as a clause; empty where it may."""
    if name in _RESERVED:
        return f"Lambda reserves the variable {name}"
    if not _VARIABLE.fullmatch(name):
        return f"'{name}' is no variable that Lambda takes: a letter, then letters, digits and _"
    return ""
