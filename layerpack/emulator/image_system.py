"""Volumes in an engine with what of an image stands for Lambda's, and nothing else.

A container that has them in place of the image's folders shows what namespaces show of this
machine.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from layerpack.docker_engine import Engine, Image, run_image, told
from layerpack.emulator.host_system import System, order_for
from layerpack.emulator.sandbox import CannotIsolateError
from layerpack.emulator.system import COPY, EMPTY, FOLDERS, MODULES, FoundInImage
from layerpack.held_container import HeldContainer, file_member
from layerpack.limits import RuntimeProfile

#: layerpack's own files in a container.
HOME: Final = "/var/rapid"
#: layerpack's package on this machine.
PACKAGE: Final = Path(__file__).parents[1]
#: Where an image may have its Python; Lambda's has it in the first.
SEARCH: Final = "/var/lang/bin:/usr/local/bin:/usr/bin:/bin"
#: Where the volumes are.
COPIES: Final = tuple(COPY + folder for folder in (*FOLDERS, EMPTY))
_EMULATED: Final = "the processor is emulated"
_SCRIPT: Final = f"{HOME}/system.py"


class ImageSystem:
    """The system of an image, until `close`.

    Raises CannotIsolateError where the image lacks the runtime's Python, or ldconfig, and
    BuildToolError where the engine refuses.
    """

    def __init__(self, engine: Engine, image: Image, profile: RuntimeProfile) -> None:
        self.engine, self.image, self.profile = engine, image, profile
        mounts = [volume(path) for path in COPIES]
        self._held = HeldContainer(engine, image, profile, host={"mounts": mounts})
        try:
            self._held.put(
                [
                    file_member(_SCRIPT, PACKAGE / "emulator/system.py"),
                    *(file_member(f"{HOME}/layerpack/{n}", PACKAGE / n) for n in MODULES),
                ]
            )
            found = self._found()
            with told("looking at the container"):
                facts = engine.api.inspect_container(self._held.id)
        except BaseException:
            self._held.close()
            raise
        names = {mount["Destination"]: mount["Name"] for mount in facts["Mounts"]}
        # All of Lambda's own image is Lambda's.
        is_lambdas = image.reference.partition("@")[0] == run_image(profile)
        copies = {f: COPY + f for f in found["replaced"]}
        copies |= dict.fromkeys(found["covered"], COPY + EMPTY)
        #: What a container must have in place of the image's folders.
        self.mounts = [
            volume(folder, names[copy], read_only=True)
            for folder, copy in ({} if is_lambdas else copies).items()
        ]
        #: Whose volumes it must have as well: the engine removes a volume with the last container
        #: only where that does not have it by name ("Do not remove named mountpoints",
        #: https://github.com/moby/moby/blob/master/daemon/mounts.go).
        self.volumes_from = [f"{self._held.id}:ro"] if self.mounts else []
        # Processes of an emulator map its own code as well.
        is_native = engine.is_native(profile)
        self.described = replace(
            _described(image, found),
            found=found if is_native and not is_lambdas else None,
            unjudged="" if is_native or is_lambdas else _EMULATED,
        )

    def close(self) -> None:
        """Remove the volumes."""
        self._held.close()

    def _found(self) -> FoundInImage:
        """Have the script look and copy, as root: volumes are root's."""
        run = f'PATH={SEARCH}; exec python{self.profile.python} -I -S -B {_SCRIPT} "$0"'
        command = ["/bin/sh", "-c", run, json.dumps(order_for(self.profile))]
        streams = (bytearray(), bytearray())
        with told(f"looking at the system of {self.image.reference}"):
            started = self.engine.api.exec_create(self._held.id, command, user="0")
            for number, chunk in self.engine.output_of(started["Id"]):
                streams[number].extend(chunk)
            code = self.engine.api.exec_inspect(started["Id"])["ExitCode"]
        output, errors = (stream.decode(errors="replace").strip() for stream in streams)
        if code != 0:
            if not self._held.runs():
                self._held.raise_foreign()
            raise CannotIsolateError((errors or f"it ended with {code}").splitlines()[-1])
        found: FoundInImage = json.loads(output)
        return found


def volume(target: str, name: str = "", *, read_only: bool = False) -> dict[str, Any]:
    """A mount of a volume, without what the image has there; a new one without a name."""
    options = {"NoCopy": True}
    return {
        **{"Type": "volume", "Source": name, "Target": target},
        **{"ReadOnly": read_only, "VolumeOptions": options},
    }


def _described(image: Image, found: FoundInImage) -> System:
    programs: dict[str, str] = {}
    for path in found["all_programs"]:
        programs.setdefault(path.rpartition("/")[2], path)
    places = {path: path for path in found["all_programs"]}
    shown = {**found["folders"], **found["programs"], **found["libraries"]}
    return System(
        name=f"the image {image.reference.partition('@')[0]}",
        libraries={soname: tuple(paths) for soname, paths in found["listed"].items()},
        sonames=found["sonames"],
        program={**programs, **places}.get,
        found=found,
        binds=tuple((file, path) for path, file in shown.items()),
    )
