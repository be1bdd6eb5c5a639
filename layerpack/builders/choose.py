"""Which builder a recipe gets: Docker where it is needed and there, else this machine."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import Literal

from layerpack.builders.api import Builder
from layerpack.builders.local import LocalBuilder
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, UsageError
from layerpack.events import Events
from layerpack.interpreters import find_interpreter
from layerpack.recipe import Recipe

BuilderName = Literal["auto", "docker", "local"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asked for: the builder, and the image to build in (empty: the recipe's, else
    AWS's own); and what is done there, and why in that image, for messages."""

    builder: BuilderName = "auto"
    base_image: str = ""
    doing: str = "building"
    why: str = ""


def docker_need(recipe: Recipe, wish: Wish) -> str:
    """Why the recipe needs Docker, as a clause; empty where it does not."""
    profile = recipe.profile
    sources = ", ".join(recipe.build.from_source)
    if wish.base_image:
        return "--base-image names an image"
    if recipe.build.image:
        return "build.image names an image"
    if recipe.build.system_packages:
        return f"build.system-packages asks for {', '.join(recipe.build.system_packages)}"
    if sources and (sys.platform != "linux" or platform.machine() != profile.machine):
        return f"{sources} may have to be built for another system than this one"
    if sources and find_interpreter(profile) is None:
        return f"there is no Python {profile.python} here that could build {sources}"
    return ""


def open_builder(recipe: Recipe, wish: Wish, cache: Cache, tell: Events) -> Builder:
    """The builder, ready to work; it says which one it is, and why.

    Raises UsageError for options that exclude each other, BuildToolError where Docker is asked for
    and cannot be used.
    """
    if wish.builder == "local":
        if wish.base_image:
            raise UsageError("--base-image is an image for --builder docker", "Leave one out.")
        if recipe.build.image or recipe.build.system_packages:
            tell.warn(
                "the local builder leaves build.image and build.system-packages to this machine"
            )
        return LocalBuilder()
    need = docker_need(recipe, wish)
    if wish.builder == "auto" and not need:
        tell.note(f"{wish.doing} on this machine: nothing in the recipe needs Docker")
        return LocalBuilder()
    # Here, as the engine's SDK takes longer to load than most commands to run.
    from layerpack.builders.docker import DockerBuilder, DockerOptions  # noqa: PLC0415
    from layerpack.docker_engine import connect  # noqa: PLC0415

    try:
        engine = connect(cache.folder("owners"))
    except BuildToolError as error:
        if wish.builder == "docker" or wish.base_image:
            raise
        tell.warn(f"{wish.doing} on this machine, although {need}: {error.message}")
        return LocalBuilder()
    builder = DockerBuilder(
        engine,
        DockerOptions(
            profile=recipe.profile,
            cache=cache,
            base_image=wish.base_image or recipe.build.image or "",
            system_packages=recipe.build.system_packages,
            on_step=tell.step,
            progress=tell.progress,
            on_output=tell.output,
        ),
    )
    tell.say(f"{wish.doing} in {builder.image}: {wish.why or need or 'as --builder says'}")
    return builder
