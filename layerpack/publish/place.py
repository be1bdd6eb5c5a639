"""Where something is published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something is: a region, an account, and the endpoint (empty: AWS's own)."""

    region: str
    account: str
    endpoint: str
