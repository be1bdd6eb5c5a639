"""A pass for what torch and transformers ship beside what this function can use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from layerpack.passes.api import Edit, PassContext, Remove
from layerpack.payload import Payload
from layerpack.recipe import Recipe

# What is left out, by its path below site-packages, and why. torch.compile and extensions that are
# compiled at run time are the only users of most of it, and Lambda has no compiler.
_UNUSED = {
    # torch looks for this one program when it is imported, and does not start without it.
    r"torch/bin/(?!torch_shm_manager$)": "a program of torch's own build and tests",
    r"torch/lib/lib(torchbind_test|jitbackend_test|backend_with_compiler|aoti_custom_ops)\.so$": (
        "a library of torch's own tests"
    ),
    # These few modules are imported with transformers' models.
    r"torch/testing/_internal/(?!(distributed/)?(__init__|fake_pg|logging_tensor)\.py$)": (
        "a helper of torch's own tests"
    ),
    r"torch/include/": "a header, for code that is compiled at run time",
    r"torch/_inductor/(autoheuristic|codegen|fx_passes|kernel)/": "writes code for a compiler",
    r"networkx/": "torch asks for it only when it compiles a model",
    r"(setuptools|_distutils_hack|distutils-precedence\.pth$)": "torch builds extensions with it",
    r"hf_xet/": "fetches models from a hub, and this one's lies in the layers",
    r"transformers/models/(?!auto/|bert/)[^/]+/": "a model that the function does not load",
}


class Unused:
    """Headers, programs and modules for compiling models, and the models that are not BERT."""

    name: ClassVar[str] = "torch-unused"
    summary: ClassVar[str] = "what torch and transformers ship for other uses than the function's"
    after: ClassVar[frozenset[str]] = frozenset()

    def wanted(self, recipe: Recipe) -> bool:
        """Always: the recipe names it."""
        return True

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Remove the files of _UNUSED."""
        for entry in payload:
            inside = payload.in_site(entry.path) or ""
            for pattern, reason in _UNUSED.items():
                if re.match(pattern, inside):
                    yield Remove(path=entry.path, reason=reason)
