"""What a container gets of this machine's settings: proxies, pip's index, the CA bundle.

They may hold secrets, so they are for the environment of the programs that need them, and for no
image and no container's configuration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from layerpack.indexes import pip_configuration

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Variables for the programs in a container, and the file of the CA bundle on this machine."""

    variables: Mapping[str, str]
    ca_bundle: Path | None


def passed_settings(section: str = "install") -> Settings:
    """This machine's: of its environment, and of pip's configuration files (a command's `section`
    before the global one), where tools such as CodeArtifact's login leave the index."""
    configured = pip_configuration(section)
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
