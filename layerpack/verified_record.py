"""What a manifest tells of its proof (`verified`): its shape, checked where it is read."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from layerpack.saved import check


class _Record(BaseModel):
    # Keys of another layerpack's are nobody's harm: JSON shows them.
    model_config = ConfigDict(strict=True, extra="allow")


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Nothing(_Closed):
    pass


class _Numbers(_Closed):
    init_ms: float | None
    first_ms: float
    second_ms: float | None
    memory_mb: int
    read_mb: float


class _Sides(_Record):
    packed: _Numbers | None = None
    plain: _Numbers | None = None
    plain_compiled: _Numbers | None = None


class _Workload(_Sides):
    name: str
    equal: bool


class _Memory(_Sides):
    memory_mb: int


class _Held(_Record):
    level: str
    state: Literal["verified"]


class _NotHeld(_Record):
    level: str
    state: Literal["not verified"]
    reason: str


class _Import(_Closed):
    name: str
    depth: int
    packed_ms: float
    plain_ms: float | None


class _Baseline(_Record):
    processor: str
    python: str
    date: str


class _Paging(_Record):
    path: str
    windows: int
    bytes: int
    packed_bytes: int
    ms: float
    decoding_ms: float


class _Verified(_Record):
    state: Literal["verified"]
    isolation: str
    modules: int
    not_importable: dict[str, str]
    workloads: list[_Workload]
    function: bool = False
    unjudged: str = ""
    baseline: _Baseline | _Nothing = _Nothing()
    ignored: list[str] = []
    levels: list[_Held | _NotHeld] = []
    imports: list[_Import] = []
    memory: list[_Memory] = []
    paging: list[_Paging] | None = None

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.memory and not self.workloads:
            raise ValueError("'memory' without a workload to measure")
        return self


class _NotVerified(_Record):
    state: Literal["not verified"]
    reason: str


def check_verified(record: dict[str, Any]) -> None:
    """Raise ValueError, naming the key, for a record that is not as verification writes it; an
    empty one is of a build that does not tell."""
    if record:
        check(_NotVerified if record.get("state") == "not verified" else _Verified, record)
