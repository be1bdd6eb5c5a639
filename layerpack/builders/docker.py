"""The faithful builder: inside the runtime's own build image, through a container engine.

Wheels come from the index as they do without Docker. What has none is built in a container, system
libraries are the image's, and a stale lock is resolved there: one container for all of it, started
when it is first needed and removed at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import distribution, version
from pathlib import Path

from layerpack import data, process
from layerpack.builders.api import BuildContext, SystemLibrary, WheelFile
from layerpack.builders.carriers import carried_library, known_licence
from layerpack.builders.docker_container import HOME, Container, PackagesError, ResourcesError
from layerpack.builders.gather import gather
from layerpack.builders.source import OLDEST_OF_PIP, build_wheel, last_lines, require_pip
from layerpack.cache import Cache
from layerpack.docker_engine import Engine, image_reference, need_image
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile
from layerpack.loader import libraries_in
from layerpack.lock import Locked
from layerpack.units import keep_by_content, kept_by_content, key_of, write_text

_ENVIRONMENT = f"{HOME}/environment"
_PYTHON = f"{_ENVIRONMENT}/bin/python"


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerOptions:
    """What the builder works with: the target, the image (AWS's own where empty) with packages to
    install in it, the cache, and sinks for steps, progress and printed lines."""

    profile: RuntimeProfile
    cache: Cache
    base_image: str = ""
    system_packages: Sequence[str] = ()
    on_step: Callable[[str], None] = field(default=lambda step: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    on_output: Callable[[str], None] = field(default=lambda line: None)


class DockerBuilder:
    """Builds in a container (see builders.api.Builder)."""

    name = "docker"

    def __init__(self, engine: Engine, options: DockerOptions) -> None:
        """Find the image in the engine, or pull it; the engine is closed with the builder.

        Raises BuildToolError where the image cannot be had.
        """
        self._options = options
        self._engine = engine
        try:
            self._image = need_image(
                self._engine,
                options.base_image or image_reference(options.profile),
                options.profile,
                options.on_step,
                options.progress,
            )
        except BaseException:
            self._engine.close()
            raise
        self.image = self._image.pinned
        self._toolchain = key_of(self._image.digest, sorted(options.system_packages))
        self._container: Container | None = None

    def close(self) -> None:
        """See Builder."""
        if self._container is not None:
            self._container.close()
            self._container = None
        self._engine.close()

    def wheels(self, pins: Sequence[Locked], context: BuildContext) -> tuple[WheelFile, ...]:
        """See Builder."""
        return gather(pins, replace(context, toolchain=self._toolchain), self._build)

    def system_library(self, soname: str, context: BuildContext) -> SystemLibrary | None:
        """The image's library; where it has none, that of a wheel which bundles it."""
        cache = context.cache
        key = (self._toolchain, soname, context.profile.machine)
        note = cache.read_note("image-libraries", *key)
        path = kept_by_content(cache.folder("libraries"), note) if note else None
        if path is None and note != "":
            content = self._read_library(soname)
            path = keep_by_content(cache.folder("libraries"), content) if content else None
            cache.write_note(path.name if path else "", "image-libraries", *key)
        if path is None:
            return carried_library(soname, context)
        return SystemLibrary(
            path=path,
            origin=self._image.reference,
            licence=known_licence(soname, context.profile),
        )

    def pip_compile(self) -> process.Tool:
        """pip-tools under the image's Python. Raises BuildToolError where it cannot be had."""
        if self._options.profile.python_version < OLDEST_OF_PIP:
            raise BuildToolError(
                f"pip no longer runs on Python {self._options.profile.python}, so that nothing "
                "can be resolved under it",
                "Lock on this machine: `layerpack lock --builder local`.",
            )
        container = self._running()
        self._options.on_step("installing pip-tools in the container")
        wanted = f"pip-tools=={version('pip-tools')}"
        quiet = ("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")
        result = container.run([_PYTHON, "-m", "pip", "install", *quiet, wanted])
        if result.returncode != 0:
            raise BuildToolError(
                f"{wanted} cannot be installed in the container: {result.tail(3)}",
                "Check that containers reach the package index: proxy variables, PIP_INDEX_URL and "
                "a CA bundle (SSL_CERT_FILE) are passed on.",
            )
        container.doing = "resolving in the container"
        return process.Tool(command=(_PYTHON, "-m", "piptools", "compile"), run=container.run)

    def _build(self, pin: Locked, context: BuildContext) -> WheelFile:
        require_pip(pin, context.profile)
        container = self._running()
        container.doing = f"building {pin.name}=={pin.version}"
        pip = process.Tool(command=(_PYTHON, "-m", "pip"), run=container.run)
        try:
            return build_wheel(pin, context, pip)
        except ResourcesError as error:
            name = f"{pin.name}-{pin.version}.log"
            log = context.cache.folder("logs") / name
            write_text(log, error.result.output + error.result.errors)
            raise BuildToolError(
                f"{error.message}; its last lines:\n{last_lines(error.result)}\n"
                f"the whole log: {log}",
                error.hint,
            ) from None

    def _read_library(self, soname: str) -> bytes | None:
        """A library's content, from where the image's loader finds it."""
        container = self._running()
        container.doing = f"looking for {soname} in the image"
        listing = container.run(["/bin/sh", "-c", "PATH=$PATH:/sbin:/usr/sbin ldconfig -p"])
        if listing.returncode != 0 or not listing.output.strip():
            # An absence that is not one would be remembered.
            raise BuildToolError(
                f"the libraries of {self._image.reference} cannot be listed: {listing.tail(3)}",
                "The image needs ldconfig; or set system-libraries to none.",
            )
        paths = libraries_in(listing.output, self._options.profile.machine).get(soname)
        if not paths:
            return None
        return container.read(container.run(["readlink", "-f", paths[0]]).output.strip())

    def _running(self) -> Container:
        """The container, with the system packages, and an environment for Python with pip."""
        if self._container is None:
            options = self._options
            options.on_step(f"starting a container of {self._image.reference}")
            self._container = Container(self._engine, self._image, options.profile)
            if options.system_packages:
                self._install(self._container)
            self._make_environment(self._container)
        return self._container

    def _install(self, container: Container) -> None:
        packages = sorted(self._options.system_packages)
        shown = ", ".join(packages)
        self._options.on_step(f"installing {shown} in the container")
        try:
            container.install(packages, data.text("install-packages"), self._options.on_output)
        except PackagesError as error:
            log = self._options.cache.folder("logs") / f"system-packages-{key_of(packages)[:8]}.log"
            write_text(log, str(error))
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise BuildToolError(
                f"installing {shown} in {self._image.reference} failed; its last lines:\n"
                + "\n".join(f"  {line}" for line in lines[-15:])
                + f"\nthe whole log: {log}",
                "build.system-packages are names of the image's own packages: `dnf search`, or "
                "`apt-cache search`, in it finds them.",
            ) from None

    def _make_environment(self, container: Container) -> None:
        """A virtual environment, so that the image's Python stays as it is, with this pip."""
        python = f"python{self._options.profile.python}"
        show = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
        code = f"""{python} -m venv --without-pip {_ENVIRONMENT} && {_PYTHON} -c "{show}" """
        result = container.run(["/bin/sh", "-c", code])
        if result.returncode != 0 or not result.output.strip():
            raise BuildToolError(
                f"{self._image.reference} has no {python} to build with: {result.tail(3)}",
                f"Name an image for {self._options.profile.runtime} with --base-image or "
                "build.image.",
            )
        # pip of this machine's environment, so that the same one builds on every image.
        pip = distribution("pip")
        root = Path(str(pip.locate_file("")))
        files = [Path(str(file)) for file in pip.files or () if ".." not in file.parts]
        sources = [file for file in files if file.suffix != ".pyc" and (root / file).is_file()]
        container.add(json.loads(result.output), root, sources)
