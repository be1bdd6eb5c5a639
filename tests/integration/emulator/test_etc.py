"""/etc, and folders that Amazon Linux has: a function finds Lambda's, not this machine's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from layerpack.emulator.environment import Environment
from layerpack.emulator.etc import ca_bundle, write_etc
from layerpack.emulator.sandbox import Program
from layerpack.limits import RuntimeProfile
from tests.integration.emulator.conftest import ISOLATIONS, Log, started
from tests.integration.emulator.test_invoke import run
from tests.support.recipes import HERE

#: Amazon Linux's own names of the CA certificates.
BUNDLES = (
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)


@pytest.fixture(params=ISOLATIONS)
def environment(request: pytest.FixtureRequest, program: Program) -> Iterator[Environment]:
    with closing(started(program, Log(), request.param)) as environment:
        yield environment


def test_types_of_files_are_pythons_own(environment: Environment) -> None:
    code = "import mimetypes, os\nanswer = [mimetypes.guess_type('x.docx')[0], "
    code += "[path for path in mimetypes.knownfiles if os.path.exists(path)]]"
    assert run(environment, code) == [None, []]


def test_ca_certificates_have_amazon_linuxs_names_alone(environment: Environment) -> None:
    code = f"import os, ssl\nanswer = [[open(p).read() for p in {BUNDLES!r}], "
    code += "os.listdir('/etc/ssl/certs'), os.readlink('/etc/ssl/certs'), "
    code += "len(ssl.create_default_context().get_ca_certs()), "
    code += "os.path.exists('/usr/share/ca-certificates')]"
    bundle = ca_bundle()
    assert bundle is not None
    texts, names, link, count, others = run(environment, code)
    assert texts == [bundle.read_text()] * len(BUNDLES)
    assert (names, link, others) == (["ca-bundle.crt"], "../pki/tls/certs", False)
    # As many as OpenSSL finds outside; it counts a certificate that is listed twice once.
    ask = "import ssl, sys; c = ssl.create_default_context(cafile=sys.argv[1])"
    ask += "; print(len(c.get_ca_certs()))"
    outside = subprocess.run(
        [sys.executable, "-c", ask, bundle], capture_output=True, check=True, text=True
    )
    assert count == int(outside.stdout) > 0


def test_users_groups_and_the_system_are_lambdas(environment: Environment) -> None:
    code = """\
import grp, os, platform, pwd, time
try:
    own = grp.getgrgid(os.getgid()).gr_name
except KeyError:
    own = None
answer = [pwd.getpwuid(os.getuid()).pw_name, pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name, own]
answer += [platform.freedesktop_os_release()[k] for k in ("ID", "VERSION_ID", "ID_LIKE")]
answer += [os.readlink("/etc/localtime"), time.localtime(0).tm_hour]
"""
    version = RuntimeProfile.load(HERE, "x86_64").system.rpartition("-")[2]
    like = "fedora" if version == "2023" else "centos rhel fedora"
    # The group has no name on Lambda.
    users = ["sbx_user1051", "root", "root", None]
    zone = ["../usr/share/zoneinfo/UTC", 0]
    assert run(environment, code) == [*users, "amzn", version, like, *zone]


def test_amazon_linuxs_folders_are_there_and_empty(environment: Environment) -> None:
    folders = ("/home", "/media", "/mnt", "/root", "/run", "/srv", "/sys", "/var/tmp")
    code = f"import os\nanswer = [sum(map(os.listdir, {folders!r}), [])]\ntry:\n"
    code += "    open('/var/tmp/x', 'w')\nexcept OSError as error:\n    answer.append(error.errno)"
    assert run(environment, code) == [[], 30]


def test_a_machine_without_ca_certificates_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerpack.emulator.etc._BUNDLES", ())
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    write_etc(tmp_path / "etc", {"ID": "amzn"}, b"", "/etc/ssl/cert.pem")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pem", ".crt")]
    mine = tmp_path / "mine.pem"
    mine.write_text("mine")
    monkeypatch.setenv("SSL_CERT_FILE", str(mine))
    write_etc(tmp_path / "other", {"ID": "amzn"}, b"", "/etc/ssl/cert.pem")
    assert (tmp_path / "other/ssl/cert.pem").read_text() == "mine"
    assert (tmp_path / "other/pki/tls/certs/ca-bundle.crt").read_text() == "mine"
