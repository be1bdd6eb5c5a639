"""Which requests may come from pages of other sites."""

from __future__ import annotations

import pytest

from layerpack.emulator.http_guard import foreign_reason
from layerpack.emulator.http_server import HttpRequest


def reason(
    host: str,
    *headers: tuple[str, str],
    here: str = "127.0.0.1",
    allowed: tuple[str, ...] | None = None,
) -> str:
    """Why a server at `host` refuses a request."""
    request = HttpRequest(
        method="POST", target="/", headers=headers, body=b"", client="127.0.0.1", here=here
    )
    return foreign_reason(request, host, allowed)


@pytest.mark.parametrize(
    ("host", "named", "here"),
    [
        ("127.0.0.1", "localhost", "127.0.0.1"),
        ("127.0.0.1", "LOCALHOST:9000", "127.0.0.1"),
        ("127.0.0.1", "app.localhost.:9000", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2:9000", "127.0.0.1"),
        ("127.0.0.1", "[::1]:9000", "127.0.0.1"),
        ("Lambda.internal", "lambda.internal:80", "10.0.0.5"),
        ("lambda.internal", "10.0.0.5:9000", "10.0.0.5"),
        # At every address, which may be behind another one.
        ("0.0.0.0", "192.168.1.7:9000", "172.17.0.2"),
        ("0.0.0.0", "0.0.0.0:9000", "127.0.0.1"),
        ("::", "[2001:db8::7]:9000", "2001:db8::1"),
    ],
)
def test_the_servers_own_names_are_taken(host: str, named: str, here: str) -> None:
    assert not reason(host, ("host", named), here=here)
    assert not reason(host, ("host", named), ("origin", f"http://{named}"), here=here)


@pytest.mark.parametrize(
    "named",
    [
        *("attacker.example", "localhost.attacker.example", "notlocalhost", "127.0.0.1.nip.io"),
        *("192.168.1.7", "[::2]", "", ":9000", "[", "127.0.0.1@attacker.example"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_other_names_are_refused(host: str, named: str) -> None:
    is_address = named in ("192.168.1.7", "[::2]")
    assert bool(reason(host, ("host", named))) == (not is_address or host == "127.0.0.1")
    origin = ("origin", f"http://{named}")
    assert bool(reason("127.0.0.1", ("host", "localhost"), origin))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_page_at_another_address_is_refused_at_every_host(host: str) -> None:
    here = "192.168.1.7"
    for other in ("203.0.113.5", "[2001:db8::7]", "attacker.example"):
        origin = ("origin", f"http://{other}")
        for named in ("localhost:9000", "192.168.1.7:9000"):
            assert reason(host, ("host", named), origin, here=here)
            assert reason(host, origin, ("host", named), here=here)
        assert reason(host, origin, here=here)
    assert reason(host, ("origin", "null"), here=here)
    for own in ("localhost", "127.0.0.1", "192.168.1.7"):
        assert not reason(host, ("host", "10.0.0.5"), ("origin", f"http://{own}"), here=here)


def test_every_origin_counts_and_fetches_tell_where_there_is_none() -> None:
    own, other = ("origin", "http://localhost"), ("origin", "https://attacker.example")
    assert reason("127.0.0.1", own, other)
    assert reason("127.0.0.1", ("origin", "null"))
    assert reason("127.0.0.1", ("sec-fetch-site", "cross-site"))
    assert not reason("127.0.0.1", own, ("sec-fetch-site", "cross-site"))
    assert not reason("127.0.0.1", ("sec-fetch-site", "same-site"))
    # HTTP/1.0 needs no Host, and browsers always send one.
    assert not reason("127.0.0.1")


def test_names_that_are_allowed_are_the_servers_own() -> None:
    host = ("host", "lambda:9000")
    allowed = ("lambda", "192.168.1.7")
    assert not reason("127.0.0.1", host, allowed=allowed)
    assert not reason("127.0.0.1", ("host", "192.168.1.7"), allowed=allowed)
    assert not reason("127.0.0.1", host, ("origin", "http://lambda:3000"), allowed=allowed)
    assert reason("127.0.0.1", host, ("origin", "http://attacker.example"), allowed=allowed)
    assert reason("127.0.0.1", ("host", "lambda.attacker.example"), allowed=allowed)


def test_a_server_that_can_have_more_names_says_how() -> None:
    host = ("host", "lambda:9000")
    assert "--allow-host lambda." in reason("127.0.0.1", host, allowed=())
    assert "--allow-host" not in reason("127.0.0.1", host)
    # Text that is no name is not repeated as one.
    assert "--allow-host" not in reason("127.0.0.1", ("host", "a b"), allowed=())
