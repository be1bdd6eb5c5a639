"""What a container gets of this machine's settings: proxies, pip's index, the CA bundle.

They may hold secrets, so they are for the environment of the programs that need them, and for no
image and no container's configuration.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from layerpack import process

# Which of a bundle's names wins: the most particular one.
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
# How the network is reached, and how many compilers may run.
_PASSED = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    "MAX_JOBS",
)
# pip's, that say where the index is and how it is reached. Others name files of this machine.
_OF_PIP = (
    *("index-url", "extra-index-url", "trusted-host", "no-index", "proxy"),
    *("timeout", "default-timeout", "retries"),
)
# Whose sections of pip's configuration count, the strongest last: `:env:` is the environment.
_SECTIONS = ("global", "install", ":env:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Variables for the programs in a container, and the file of the CA bundle on this machine."""

    variables: Mapping[str, str]
    ca_bundle: Path | None


def passed_settings() -> Settings:
    """This machine's: of its environment, and of pip's configuration files, where tools such as
    CodeArtifact's login leave the index."""
    configured = _pip_configuration()
    variables = {name: os.environ[name] for name in _PASSED if os.environ.get(name)}
    for key in _OF_PIP:
        # A folder of this machine is none in the container.
        words = [word for word in configured.get(key, "").split() if not word.startswith("file:")]
        if words:
            variables[f"PIP_{key.upper().replace('-', '_')}"] = " ".join(words)
    # uv's names for the same, which a resolver on this machine would read.
    uv_index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if uv_index and not uv_index.startswith("file:"):
        variables.setdefault("PIP_INDEX_URL", uv_index)
    bundles = [os.environ.get(name, "") for name in CA_VARIABLES]
    bundle = next((text for text in (*bundles, configured.get("cert", "")) if text), "")
    return Settings(
        variables=variables,
        ca_bundle=Path(bundle) if bundle and Path(bundle).is_file() else None,
    )


def _pip_configuration() -> dict[str, str]:
    """Settings of pip by their names, as `pip config list` prints them: `global.timeout='60'`."""
    listing = process.run([sys.executable, "-m", "pip", "config", "list"])
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.output.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if equals and section in found:
            found[section][key] = str(ast.literal_eval(value))
    return {key: value for section in _SECTIONS for key, value in found[section].items()}
