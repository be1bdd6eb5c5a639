"""`publish.json` in the build folder: what was published where, written after each success.

It saves requests, and tells other tools the ARNs; nothing is taken from it that AWS does not still
have.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from layerpack.build_folder import RECEIPT
from layerpack.errors import UsageError
from layerpack.publish.place import Place
from layerpack.saved import parsed
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
    """A function that has the layers: `begun` (it is being changed, or a run died at that), `done`
    (without answers to prove it by) or `proven`; the version and alias made for it, if any."""

    state: Literal["begun", "done", "proven"]
    version: str = ""
    alias: str = ""


@dataclass(kw_only=True, slots=True)
class RegionReceipt:
    """What is in a region of an account, reached at `endpoint` (empty: AWS's own)."""

    account: str
    endpoint: str
    layers: dict[str, LayerReceipt] = field(default_factory=dict)
    functions: dict[str, FunctionReceipt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Saved:
    schema_version: int
    regions: dict[str, RegionReceipt]


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
            saved = parsed(_Saved, path.read_bytes())
            if saved.schema_version != SCHEMA_VERSION:
                raise ValueError(f"schema version {saved.schema_version}")
            regions = saved.regions
        except FileNotFoundError:
            regions = {}
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} is not a receipt that this layerpack can read: {error}",
                "Move the file away, and publish again: the receipt is rebuilt from AWS.",
            ) from None
        return cls(folder, regions)

    @property
    def regions(self) -> dict[str, RegionReceipt]:
        """A copy of what is known, by region."""
        with self._lock:
            return {
                name: replace(one, layers=dict(one.layers)) for name, one in self._regions.items()
            }

    def layer(self, place: Place, name: str) -> LayerReceipt | None:
        """What is known of a layer there."""
        found = self._known(place)
        return found.layers.get(name) if found else None

    def layers(self, place: Place) -> set[str]:
        """The names of all layers that are known there, those of earlier builds too."""
        found = self._known(place)
        return set(found.layers) if found else set()

    def function(self, place: Place, name: str) -> FunctionReceipt | None:
        """What is known of a function there."""
        found = self._known(place)
        return found.functions.get(name) if found else None

    def add_layer(self, place: Place, name: str, layer: LayerReceipt) -> None:
        """Write down a layer that is there."""
        with self._lock:
            self._of(place).layers[name] = layer
            self._write()

    def set_function(self, place: Place, name: str, function: FunctionReceipt | None) -> None:
        """Write down a function that has the layers, or that nothing is known of it."""
        with self._lock:
            functions = self._of(place).functions
            if function is None:
                functions.pop(name, None)
            else:
                functions[name] = function
            self._write()

    def forget(self, place: Place, arns: set[str]) -> None:
        """Strike out layer versions that were deleted."""
        with self._lock:
            found = self._known(place)
            if found is None or not arns & {one.arn for one in found.layers.values()}:
                return
            found.layers = {k: v for k, v in found.layers.items() if v.arn not in arns}
            self._write()

    def _known(self, place: Place) -> RegionReceipt | None:
        found = self._regions.get(place.region)
        same = found and (found.account, found.endpoint) == (place.account, place.endpoint)
        return found if same else None

    def _of(self, place: Place) -> RegionReceipt:
        found = self._known(place)
        if found is None:
            found = RegionReceipt(account=place.account, endpoint=place.endpoint)
            self._regions[place.region] = found
        return found

    def _write(self) -> None:
        regions = {name: asdict(one) for name, one in sorted(self._regions.items())}
        value = {"schema_version": SCHEMA_VERSION, "regions": regions}
        write_text(self._path, json.dumps(value, indent=2) + "\n")
