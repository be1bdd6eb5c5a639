"""The container engine: where it listens, whether it will do, and the images that it has.

Any engine with Docker's API does: Docker, rootless Docker, Podman's socket, or a remote one. This
is the only module that imports its SDK.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docker.client import DockerClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, InvalidVersion, NotFound
from docker.utils.config import load_general_config
from docker.utils.socket import SocketError
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from layerpack import data
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile
from layerpack.owners import Owner

# What the SDK lets through where the connection breaks: its own reading of streams catches nothing.
_BROKEN: tuple[type[Exception], ...] = (
    *(RequestException, HTTPError, SocketError, HTTPException),
    *(ConnectionError, TimeoutError),
)
#: What the SDK raises where the engine refuses, or the connection to it breaks; and for what is not
#: in a container.
ENGINE_ERRORS: tuple[type[Exception], ...] = (DockerException, *_BROKEN)
NOT_FOUND: type[Exception] = NotFound
#: What an engine's own message says when its disk is full.
DISK_FULL = os.strerror(errno.ENOSPC).lower()

_START = (
    "Install and start Docker (or Podman with its socket), name an engine with DOCKER_HOST, or use "
    "--builder local."
)
# Seconds. An engine answers at once, or its machine is not there; what it then does may take long.
_PATIENCE_FIRST = 10
_PATIENCE = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """An engine that answered: the SDK's low-level client, where it listens, its version, and the
    architecture that it runs on, as Go calls it (`amd64`); and this process as the owner of its
    containers."""

    api: Any
    address: str
    version: str
    api_version: str
    architecture: str
    owner: Owner | None

    def is_native(self, profile: RuntimeProfile) -> bool:
        """Whether it runs a runtime's programs without emulation."""
        return platform_of(profile) == f"linux/{self.architecture}"

    def output_of(self, identity: str) -> Iterator[tuple[int, bytes]]:
        """Start what was made ready to be run in a container: (0, standard output) and (1,
        standard error), as they come.

        Not by the SDK, which reads past what came together with the answer's head: a proxy, or a
        slow network, then takes the first lines. The format is that of "Attach to a container" in
        the engine's API. Raises ConnectionError where it breaks within a piece.
        """
        url = f"{self.api.base_url}/v{self.api.api_version}/exec/{identity}/start"
        # A program may be silent for as long as it likes.
        answer = self.api.post(url, json={"Detach": False, "Tty": False}, stream=True, timeout=None)
        with answer:
            if answer.status_code >= 400:
                raise APIError(answer.reason, response=answer, explanation=answer.text)
            while head := answer.raw.read(8):
                if len(head) < 8:
                    raise ConnectionError("the output ended in the middle")
                stream, size = struct.unpack(">BxxxL", head)
                while size:
                    chunk = answer.raw.read(min(size, 1 << 16))
                    if not chunk:
                        raise ConnectionError("the output ended in the middle")
                    size -= len(chunk)
                    yield (1 if stream == 2 else 0), chunk

    def close(self) -> None:
        """Close the connections to it."""
        self.api.close()
        if self.owner is not None:
            self.owner.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that the engine has: what it was asked for as, its identity there, its digest.

    `digest` is the registry's; for an image that came from none, it is the engine's identity.
    """

    reference: str
    identity: str
    digest: str

    @property
    def pinned(self) -> str:
        """The reference with the digest."""
        return f"{self.reference.partition('@')[0]}@{self.digest}"


def engine_address() -> tuple[str, str]:
    """Where the engine listens, and what says so (empty where it is a usual place).

    DOCKER_HOST, or the context that Docker's own client uses, or the first socket that exists in
    the places of Docker, rootless Docker, Docker Desktop and Podman.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return host, "DOCKER_HOST"
    if context := _context():
        return context
    mine = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    places = [
        "/var/run/docker.sock",
        f"{mine}/docker.sock",
        str(Path("~/.docker/run/docker.sock").expanduser()),
        f"{mine}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    found = next((place for place in places if os.path.exists(place)), places[0])  # noqa: PTH110
    return f"unix://{found}", ""


def _context() -> tuple[str, str] | None:
    """The address of the context that DOCKER_CONTEXT names, or `docker context use` chose, unless
    that is the default. (Certificates of a context are not read: DOCKER_CERT_PATH names them.)"""
    try:
        chosen = os.environ.get("DOCKER_CONTEXT")
        context = ContextAPI.get_context(chosen) if chosen else ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError):
        return None
    if context is None or context.Name == "default" or not context.Host:
        return None
    return str(context.Host), f"Docker's context '{context.Name}'"


def connect(owners: Path | None = None) -> Engine:
    """The engine, once it has told its version. `owners` is a cache's folder of that name; without
    it, no container is made.

    Raises BuildToolError where there is none, it may not be used, does not answer or is too old.
    """
    address, source = engine_address()
    facts = data.load("docker.json")
    if address.startswith("ssh://") and find_spec("paramiko") is None:
        raise BuildToolError(
            f"the container engine at {address} is reached by ssh, which needs paramiko",
            "Install it beside layerpack (pip install 'docker[ssh]'), or forward the engine's "
            "socket (ssh -L) and name that in DOCKER_HOST.",
        )
    try:
        client = DockerClient.from_env(
            version="auto",
            timeout=_PATIENCE_FIRST,
            environment={**os.environ, "DOCKER_HOST": address},
            use_ssh_client=address.startswith("ssh://"),
        )
        version = client.version()
    except InvalidVersion as error:
        raise _too_old(address, str(error)) from None
    except (DockerException, OSError, ValueError) as error:
        raise _no_engine(address, source, error) from None
    api_version = str(version.get("ApiVersion", "0"))
    if _numbers(api_version) < _numbers(facts["oldest_api"]):
        client.close()
        raise _too_old(address, f"version {version.get('Version')}, API {api_version}")
    client.api.timeout = _PATIENCE
    return Engine(
        api=client.api,
        address=address,
        version=str(version.get("Version", "")),
        api_version=api_version,
        architecture=str(version.get("Arch", "")),
        owner=None if owners is None else Owner(owners, address),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _too_old(address: str, what: str) -> BuildToolError:
    facts = data.load("docker.json")
    return BuildToolError(
        f"the container engine at {address} is too old: {what}; layerpack needs API "
        f"{facts['oldest_api']}",
        f"Update it to {facts['oldest_engine']} or newer, or use --builder local.",
    )


def _no_engine(address: str, source: str, error: Exception) -> BuildToolError:
    """What keeps the engine from answering."""
    number, told = _system_reason(error)
    if number == errno.ENOENT:
        return BuildToolError(f"there is no container engine: {address} does not exist", _START)
    if number in (errno.EACCES, errno.EPERM):
        return BuildToolError(
            f"the container engine at {address} may not be used: {os.strerror(number)}",
            "Add yourself to the group that owns its socket (`docker`), run a rootless engine, or "
            "use --builder local.",
        )
    origin = f" (from {source})" if source else ""
    return BuildToolError(
        f"the container engine at {address}{origin} does not answer: {told}", _START
    )


def _system_reason(error: BaseException) -> tuple[int | None, str]:
    """The system's error number and message, which the SDK wraps several times; else the innermost
    message."""
    reason: BaseException | None = error
    number = None
    while reason is not None and number is None:
        number = reason.errno if isinstance(reason, OSError) else None
        last, reason = reason, reason.__cause__ or reason.__context__
    return number, os.strerror(number) if number else str(last) or str(error)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn what the engine or the connection to it refuses into an error that says what was done.

    `doing` is the sentence's beginning, such as `starting the container`.
    """
    try:
        yield
    except DockerException as error:
        raise engine_error(doing, str(getattr(error, "explanation", None) or error)) from None
    except _BROKEN as error:
        # (The engine's refusals are caught above: they are among these, too.)
        raise BuildToolError(
            f"{doing} failed: the container engine no longer answers: {_system_reason(error)[1]}",
            "See whether it still runs: `layerpack doctor` asks it.",
        ) from None


def engine_error(doing: str, reason: str) -> BuildToolError:
    """The error for what an engine refused, with what to do about the reason that it gave."""
    lower = reason.lower()
    if DISK_FULL in lower:
        return BuildToolError(
            f"{doing} failed: the container engine has no space left",
            "Free some: `docker system df` shows what takes it, `docker system prune` removes what "
            "nothing uses.",
        )
    if "is not running" in lower or "no such container" in lower:
        return ended_error(doing)
    if "exec format error" in lower:
        return BuildToolError(
            f"{doing} failed: the container engine cannot run programs of that architecture",
            "Install its emulation (qemu-user-static with binfmt), name an engine of that "
            "architecture with DOCKER_HOST, or choose versions that have wheels.",
        )
    return BuildToolError(
        f"{doing} failed: {reason.strip()}", "`layerpack doctor` shows the engine."
    )


def ended_error(doing: str) -> BuildToolError:
    """The error for a container that somebody else ended."""
    return BuildToolError(f"{doing} failed: the container was ended from outside", "Build again.")


def image_reference(profile: RuntimeProfile) -> str:
    """AWS's own build image for the runtime and architecture."""
    template: str = data.load("docker.json")["image"]
    return template.format(runtime=profile.runtime, architecture=profile.architecture)


def run_image(profile: RuntimeProfile) -> str:
    """AWS's own image that functions run in."""
    template: str = data.load("docker.json")["run_image"]
    return template.format(python=profile.python)


def platform_of(profile: RuntimeProfile) -> str:
    """The engine's name for the runtime's machine, such as `linux/arm64`."""
    platform: str = data.load("docker.json")["platforms"][profile.architecture]
    return platform


def need_image(
    engine: Engine,
    reference: str,
    profile: RuntimeProfile,
    on_step: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Image:
    """The image, pulled where the engine has none of that name for the runtime's architecture.

    Raises BuildToolError where it cannot be pulled, or is for another architecture.
    """
    found = _inspect(engine, reference)
    _, at, digest = reference.partition("@")
    if found is None and at:
        # One that came from no registry has its identity for a digest.
        found = _inspect(engine, digest)
    wanted = platform_of(profile)
    if found is None or _platform(found) != wanted:
        on_step(f"pulling {reference}")
        try:
            _pull(engine, reference, wanted, progress)
        except BuildToolError as error:
            # One that was made here is in no registry.
            if found is None:
                raise
            foreign = _foreign(found, reference, wanted)
            raise BuildToolError(f"{foreign.message} ({error.message})", foreign.hint) from None
        found = _inspect(engine, reference)
        if found is None or _platform(found) != wanted:
            raise _foreign(found or {}, reference, wanted)
    return Image(reference=reference, identity=found["Id"], digest=_digest(found, reference))


def _inspect(engine: Engine, reference: str) -> dict[str, Any] | None:

    with told(f"looking for the image {reference}"):
        try:
            found: dict[str, Any] = engine.api.inspect_image(reference)
        except ImageNotFound:
            return None
        return found


def _platform(image: dict[str, Any]) -> str:
    return f"{image.get('Os', 'linux')}/{image.get('Architecture', '')}"


def _foreign(image: dict[str, Any], reference: str, wanted: str) -> BuildToolError:
    return BuildToolError(
        f"the image {reference} is for {_platform(image)}, and the recipe needs {wanted}",
        "Name an image of that architecture with --base-image or build.image.",
    )


def _digest(image: dict[str, Any], reference: str) -> str:
    if "@" in reference:
        return reference.partition("@")[2]
    # A tag's colon stands behind the last slash, a port's before it.
    folder, slash, name = reference.rpartition("/")
    repository = _short(folder + slash + name.partition(":")[0])
    for text in image.get("RepoDigests") or ():
        if _short(text.partition("@")[0]) == repository:
            return str(text.partition("@")[2])
    return str(image["Id"])


def _short(repository: str) -> str:
    """A repository's name without what is understood: Docker Hub, and its official images."""
    return repository.removeprefix("docker.io/").removeprefix("library/")


def proxy_variables() -> dict[str, str]:
    """The proxies of Docker's own configuration file (`proxies.default`), as variables."""
    configured = load_general_config().get("proxies", {}).get("default", {})
    names = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "noProxy": "NO_PROXY"}
    names |= {"ftpProxy": "FTP_PROXY", "allProxy": "ALL_PROXY"}
    found = {name: configured[key] for key, name in names.items() if configured.get(key)}
    return found | {name.lower(): value for name, value in found.items()}


def _pull(
    engine: Engine, reference: str, platform: str, progress: Callable[[int, int], None]
) -> None:
    done: dict[str, tuple[int, int]] = {}
    with told(f"pulling {reference}"):
        try:
            for event in engine.api.pull(reference, platform=platform, stream=True, decode=True):
                if "error" in event:
                    raise _not_pulled(reference, str(event["error"]))
                detail = event.get("progressDetail") or {}
                if event.get("status") == "Downloading" and detail.get("total"):
                    done[event["id"]] = (detail["current"], detail["total"])
                    progress(*(sum(numbers) for numbers in zip(*done.values(), strict=True)))
        except APIError as error:
            raise _not_pulled(reference, str(error.explanation or error)) from None


def _not_pulled(reference: str, reason: str) -> BuildToolError:
    if DISK_FULL in reason.lower():
        return engine_error(f"pulling {reference}", reason)
    return BuildToolError(
        f"the image {reference} cannot be pulled: {reason.strip()}",
        "Check its name and the engine's network, log in (`docker login`) where it is private, or "
        "name another with --base-image or build.image.",
    )
