"""The variables that a function finds, and those that it may set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from layerpack.emulation import settings_of
from layerpack.emulator.sandbox import Settings
from layerpack.errors import UsageError
from layerpack.lambda_variables import (
    CREDENTIALS,
    configured_variables,
    lambda_variables,
    variable_problem,
)
from tests.unit.test_manifest import MANIFEST

#: "Defined runtime environment variables" of AWS's developer guide, without those that name places
#: (PATH, LD_LIBRARY_PATH, PYTHONPATH, LAMBDA_*, AWS_LAMBDA_RUNTIME_API) and without those that
#: other runtimes set.
DEFINED = {
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LANG",
    "TZ",
}
VARIABLES = lambda_variables(
    name="small", runtime="python3.12", handler="app.handler", memory_mb=1769
)


def test_all_variables_that_aws_documents_are_set() -> None:
    # The tracing header comes with each invocation.
    assert set(VARIABLES) == DEFINED - {"_X_AMZN_TRACE_ID"}
    assert all(VARIABLES.values())
    assert (VARIABLES["TZ"], VARIABLES["LANG"]) == (":UTC", "en_US.UTF-8")


@pytest.mark.parametrize("name", [*sorted(CREDENTIALS), "AWS_LAMBDA_METADATA_API"])
def test_a_functions_configuration_cannot_set_reserved_variables(name: str) -> None:
    assert name in variable_problem(name)


def settings(*variables: str) -> Settings:
    """The settings of `--env` options."""
    manifest = replace(MANIFEST, function=None)
    return settings_of(
        manifest, memory_mb=1769, timeout=3.0, tmp_mb=512, network=True, variables=variables
    )


def test_credentials_may_be_given_by_env_alone() -> None:
    given = settings("AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret")
    found = configured_variables(VARIABLES, given.variables)
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("key", "secret")
    # A placeholder beside a real key would make every request of the function fail.
    assert "AWS_SESSION_TOKEN" not in found
    with pytest.raises(UsageError, match="AWS_REGION"):
        settings("AWS_REGION=eu-west-1")


@pytest.mark.parametrize("text", ["AWS_REGION=hunter2", "1X=hunter2", "=hunter2"])
def test_a_refused_variables_value_is_not_printed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(text)
    assert repr(text.partition("=")[0]) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_variables_of_env_are_refused_beyond_what_lambda_takes_in_all() -> None:
    # Credentials are no part of a function's configuration.
    secret = f"AWS_SESSION_TOKEN={'s' * 4096}"
    assert settings(secret, f"A1={'a' * 4087}").variables["A1"]
    with pytest.raises(UsageError, match="4,097 bytes"):
        settings(secret, f"A1={'a' * 4088}")


def test_placeholders_stay_beside_other_variables() -> None:
    found = configured_variables(VARIABLES, settings("LANG=C").variables)
    assert found == VARIABLES | {"LANG": "C"}
