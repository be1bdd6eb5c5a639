"""The code that a function has before it is changed, kept so that it can be given back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerpack.errors import PublishError
from layerpack.publish.aws import Region
from layerpack.publish.checks import Artifact
from layerpack.units import sha256_file


def keep_former_code(
    region: Region, name: str, former: Mapping[str, Any], folder: Path
) -> Artifact:
    """Download a function's code into `folder`, and give it as what can be sent again.

    Raises PublishError where that cannot be: nothing has been changed yet.
    """
    why = f"the code that {name} has now cannot be kept, to be given back if the new one fails"
    with region.told(why):
        location = region.lambda_.get_function(FunctionName=name)["Code"]["Location"]
    path = folder / "former.zip"
    # The address is a credential of its own: it stands in no message.
    region.download(location, path)
    digest = sha256_file(path)
    if base64.b64encode(bytes.fromhex(digest)).decode() != former.get("CodeSha256"):
        raise PublishError(
            f"{why}: the code downloaded from {region.name} is not the code that the function runs",
            "Somebody else may be changing it. Publish again.",
        )
    return Artifact(name=name, path=path, sha256=digest, zipped_bytes=path.stat().st_size)
