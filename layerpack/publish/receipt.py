"""`publish.json` in the build folder: what was published where, written after each success.

It saves requests, and tells other tools the ARNs; nothing is taken from it that AWS does not still
have.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from layerpack.build_folder import RECEIPT
from layerpack.errors import UsageError
from layerpack.units import write_text

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReceipt:
    """A published layer: its version's ARN, the zip's SHA-256, when AWS says it was made."""

    arn: str
    sha256: str
    created: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionReceipt:
    """The function that has the layers: its name, the version and alias made for it, if any."""

    name: str
    version: str = ""
    alias: str = ""


@dataclass(kw_only=True, slots=True)
class RegionReceipt:
    """What is in a region, reached at `endpoint` (empty: AWS's own)."""

    endpoint: str = ""
    layers: dict[str, LayerReceipt] = field(default_factory=dict)
    function: FunctionReceipt | None = None


class Receipt:
    """The receipt of a build folder; safe in threads. Every change is written at once."""

    def __init__(self, folder: Path, regions: dict[str, RegionReceipt]) -> None:
        self._path = folder / RECEIPT
        self._regions = regions
        self._lock = threading.Lock()

    @classmethod
    def read(cls, folder: Path) -> Receipt:
        """The receipt in `folder`, empty where there is none.

        Raises UsageError for one that is damaged, or of another version of layerpack.
        """
        path = folder / RECEIPT
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {value['schema_version']}")
            regions = {name: _region(one) for name, one in value["regions"].items()}
        except FileNotFoundError:
            regions = {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} cannot be used: {error}",
                "Remove it: what it tells is found anew, by asking AWS.",
            ) from None
        return cls(folder, regions)

    @property
    def regions(self) -> dict[str, RegionReceipt]:
        """A copy of what is known, by region."""
        with self._lock:
            return {
                name: RegionReceipt(
                    endpoint=one.endpoint, layers=dict(one.layers), function=one.function
                )
                for name, one in self._regions.items()
            }

    def layer(self, region: str, endpoint: str, name: str) -> LayerReceipt | None:
        """What is known of a layer there."""
        found = self.regions.get(region)
        return found.layers.get(name) if found and found.endpoint == endpoint else None

    def add_layer(self, region: str, endpoint: str, name: str, layer: LayerReceipt) -> None:
        """Write down a layer that is there."""
        with self._lock:
            self._of(region, endpoint).layers[name] = layer
            self._write()

    def set_function(self, region: str, endpoint: str, function: FunctionReceipt) -> None:
        """Write down the function that has the layers."""
        with self._lock:
            self._of(region, endpoint).function = function
            self._write()

    def forget(self, region: str, arns: set[str]) -> None:
        """Strike out layer versions that were deleted."""
        with self._lock:
            found = self._regions.get(region)
            if found is None or not arns & {one.arn for one in found.layers.values()}:
                return
            found.layers = {k: v for k, v in found.layers.items() if v.arn not in arns}
            self._write()

    def _of(self, region: str, endpoint: str) -> RegionReceipt:
        found = self._regions.get(region)
        if found is None or found.endpoint != endpoint:
            found = self._regions[region] = RegionReceipt(endpoint=endpoint)
        return found

    def _write(self) -> None:
        regions = {name: asdict(one) for name, one in sorted(self._regions.items())}
        value = {"schema_version": SCHEMA_VERSION, "regions": regions}
        write_text(self._path, json.dumps(value, indent=2) + "\n")


def _region(value: dict[str, Any]) -> RegionReceipt:
    function = value["function"]
    return RegionReceipt(
        endpoint=value["endpoint"],
        layers={name: LayerReceipt(**one) for name, one in value["layers"].items()},
        function=FunctionReceipt(**function) if function else None,
    )
