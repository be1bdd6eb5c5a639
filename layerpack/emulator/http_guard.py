"""Refuses requests that a web page of another site makes: a page may reach this machine's ports.

With DNS rebinding, the page's own name leads to this machine; the Host header has that name. Any
page may also send simple requests to any address (the Fetch standard's safelisted methods and
headers); Origin says so, or Sec-Fetch-Site where there is no Origin ("Fetch Metadata Request
Headers").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from layerpack.emulator.http_server import HttpRequest

_ANY: frozenset[str] = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared, not bound)
# Container engines allow underscores in the names of services.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def is_host(text: str) -> bool:
    """Whether a text is a host's name or address, without a port."""
    return bool(_NAME.fullmatch(text)) or _address(text) is not None


def foreign_reason(request: HttpRequest, host: str, allowed: Collection[str] | None = None) -> str:
    """Why a server that listens at `host` (a name or an address) must refuse a request, in
    sentences; empty if it must not. `allowed` are more names of the server, in lower case (None: it
    can have no others)."""
    for name, value in request.headers:
        if name == "host":
            named = _name_in(f"//{value}")
            if named not in (allowed or ()) and not _may_be_host(named, host, request.here):
                reason = f"The Host header names {value}: use localhost or {host}."
                hint = f" To accept this name, serve with --allow-host {named}."
                return reason + hint if allowed is not None and is_host(named) else reason
        elif name == "origin":
            named = _name_in(value)
            if named not in (allowed or ()) and not _may_be_origin(named, host, request):
                return f"Requests from pages of another site ({value}) are refused."
    if request.header("sec-fetch-site") == "cross-site" and not request.header("origin"):
        return "Requests from pages of another site are refused."
    return ""


def _name_in(url: str) -> str:
    """A URL's host, empty if it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _may_be_host(name: str, host: str, here: str) -> bool:
    """Whether a Host header may have this name. Rebinding needs a name, so a server at all
    addresses accepts each address: it may be behind another one."""
    return _is_own(name, host, here) or (host in _ANY and _address(name) is not None)


def _may_be_origin(name: str, host: str, request: HttpRequest) -> bool:
    """Whether a page at this name may send the request. Any site may be at a bare address, so only
    the address in the request's own Host header counts beside the server's own."""
    same = bool(name) and name == _name_in(f"//{request.header('host')}")
    return same or _is_own(name, host, request.here)


def _is_own(name: str, host: str, here: str) -> bool:
    """Whether a name or an address means this server: localhost (RFC 6761, 6.3), a loopback
    address, the one that the client reached, or `host`."""
    if name in (host.lower(), here, "localhost") or name.endswith(".localhost"):
        return bool(name)
    address = _address(name)
    return address is not None and address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
