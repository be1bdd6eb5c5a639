"""Secrets by content: private keys in every form, AWS's keys, and what is none."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID

from layerpack.function_secrets import is_secret

AWS_ID = "AKIA" + "Q3EGRT7J2LWXPMNZ"
AWS_SECRET = "wq9Xc2/kT+0aPz7LmRf4Yb1VnH8sJdUe3GoKiQtC"
PROSE = "All work and no play makes a long file.\n" * 20_000


@pytest.fixture(scope="module")
def keys() -> dict[str, bytes]:
    """Private keys in every form, and what is public of one (`public` and later)."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    plain, pem, der = NoEncryption(), Encoding.PEM, Encoding.DER
    pkcs1, pkcs8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
    secret = BestAvailableEncryption(b"secret")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    day = datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder(name, name, rsa_key.public_key(), 1, day, day + timedelta(1))
    ).sign(rsa_key, SHA256())
    request = x509.CertificateSigningRequestBuilder(name).sign(rsa_key, SHA256())
    return {
        "pem": rsa_key.private_bytes(pem, pkcs8, plain),
        "ec pem": ec_key.private_bytes(pem, pkcs1, plain),
        "encrypted": rsa_key.private_bytes(pem, pkcs1, secret),
        "openssh": ec_key.private_bytes(pem, PrivateFormat.OpenSSH, plain),
        "ec": ec_key.private_bytes(der, pkcs1, plain),
        "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(der, pkcs8, plain),
        "pkcs1": rsa_key.private_bytes(der, pkcs1, plain),
        "pkcs8": rsa_key.private_bytes(der, pkcs8, plain),
        "pkcs12": serialize_key_and_certificates(b"x", rsa_key, certificate, None, secret),
        "public": rsa_key.public_key().public_bytes(der, PublicFormat.SubjectPublicKeyInfo),
        "rsa public": rsa_key.public_key().public_bytes(der, PublicFormat.PKCS1),
        "certificate": certificate.public_bytes(der),
        "request": request.public_bytes(der),
    }


def found(folder: Path, name: str, content: bytes | str) -> bool:
    """Whether a file with that content is a secret."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return is_secret(file, [name])


@pytest.mark.parametrize(
    "kind", ["pem", "ec pem", "encrypted", "openssh", "ec", "ed25519", "pkcs1", "pkcs8", "pkcs12"]
)
def test_a_private_key_is_found_in_every_form(
    tmp_path: Path, keys: dict[str, bytes], kind: str
) -> None:
    assert found(tmp_path, "blob", keys[kind])


@pytest.mark.parametrize("kind", ["public", "rsa public", "request", "certificate"])
def test_what_is_public_of_a_key_is_none(tmp_path: Path, keys: dict[str, bytes], kind: str) -> None:
    assert not found(tmp_path, "key.der", keys[kind])


@pytest.mark.parametrize("name", ["notes.txt", "config.py", "settings.json"])
def test_a_private_key_late_in_a_text_is_found(
    tmp_path: Path, keys: dict[str, bytes], name: str
) -> None:
    for kind in ("pem", "ec pem", "encrypted", "openssh"):
        key = keys[kind].decode()
        assert found(tmp_path, name, PROSE + key)
        assert found(tmp_path, name, PROSE + key.replace("\n", "\\n"))
        assert found(tmp_path, name, PROSE + key.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    "text",
    [
        f"AWS_ACCESS_KEY_ID={AWS_ID}\nAWS_SECRET_ACCESS_KEY={AWS_SECRET}\n",
        f'{{"secret": "{AWS_SECRET}", "id": "{AWS_ID}"}}',
        f"client(aws_access_key_id='{AWS_ID}',\n       aws_secret_access_key='{AWS_SECRET}')\n",
        PROSE + f"{AWS_ID.replace('AKIA', 'ASIA')}:{AWS_SECRET}",
        # An identifier alone.
        AWS_ID,
        f"x = connect('{AWS_ID.replace('AKIA', 'ASIA')}')",
        f"{AWS_ID} {PROSE} {AWS_SECRET}",
        # A secret key alone, by its name.
        f"aws_secret_access_key={AWS_SECRET}",
        f"[default]\naws_secret_access_key = {AWS_SECRET}\n",
        f"export AWS_SECRET_ACCESS_KEY='{AWS_SECRET}'",
        f"ENV AWS_SECRET_ACCESS_KEY {AWS_SECRET}",
        f"AWS_SECRET_ACCESS_KEY: Final[str] = '{AWS_SECRET}'",
        f'os.environ["AWS_SECRET_ACCESS_KEY"] = "{AWS_SECRET}"',
        f'os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "{AWS_SECRET}")',
        f'{{"SecretAccessKey": "{AWS_SECRET}"}}',
        f"{{'SecretAccessKey': '{AWS_SECRET}'}}".replace("/", "\\/"),
        f'{{\\"secretAccessKey\\":\\"{AWS_SECRET}\\"}}',
        f"<SecretAccessKey>{AWS_SECRET}</SecretAccessKey>",
        f"aws.secretKey={AWS_SECRET}",
        f"aws-secret-access-key: >-\n    {AWS_SECRET}",
        f"env:\n  - name: AWS_SECRET_ACCESS_KEY\n    value: {AWS_SECRET}\n",
    ],
)
def test_keys_of_aws_are_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "app.py", text)


@pytest.mark.parametrize(
    "text",
    [
        AWS_SECRET,
        f"token = '{AWS_SECRET}'",
        f"sha = '{AWS_SECRET}'  # no secret",
        # Names, hashes, placeholders and longer words where a secret key is expected.
        "aws_secret_access_key=os.environ['MY_SECRET']",
        "aws_secret_access_key=settings.Production2SecretAccessKeyOfTheUploader1",
        "AWS_SECRET_ACCESS_KEY = da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "AWS_SECRET_ACCESS_KEY = 'xY0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'",
        f"AWS_SECRET_ACCESS_KEY = {AWS_SECRET}{AWS_SECRET}",
        "AWS_SECRET_ACCESS_KEY = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        f"AWS_SECRET_ACCESS_KEY is read later. {PROSE} {AWS_SECRET}",
        "AKIAXXXXXXXXXXXXXXXX",
        "AKIA1234567890ABCDEF",
        "AKIAI44QH8DHBEXAMPLE and ASIAJEXAMPLEXEG2JICEA",
        # Longer words, hashes, and AWS's own examples.
        f"x{AWS_ID}y {AWS_SECRET}",
        "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "PEM = '-----BEGIN PRIVATE KEY-----'\n" + PROSE,
        "Write -----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
    ],
)
def test_what_only_looks_like_keys_is_none(tmp_path: Path, text: str) -> None:
    assert not found(tmp_path, "app.py", text)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "line",
    [
        # Headers that no key follows, with ends of lines in every form.
        *("key: value\r\n", "key: value\n", "key: value\\n", "key:  \t \r\n \r\n", "k: \\r"),
        *("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nkey: value\r\n"),
        *("X: -----BEGIN PRIVATE KEY-----\n", "X: -----BEGIN PRIVATE KEY----- "),
        *("\r\n", " ", "\\n", "a", "A1 ", "-----BEGIN ", f"{AWS_ID}_ ", AWS_ID, "AKIA", "AKIA_"),
        *("AWS_SECRET_ACCESS_KEY", "aws_secret=", "secret", "secret_access_", "\\/", "aws."),
    ],
)
@pytest.mark.parametrize("begin", ["-----BEGIN PRIVATE KEY-----\r\n", ""])
def test_a_large_text_that_repeats_itself_is_read_once(
    tmp_path: Path, begin: str, line: str
) -> None:
    text = begin + line * (4_999_000 // len(line)) + "!"
    assert found(tmp_path, "app.py", text) in (False, True)


@pytest.mark.parametrize(
    "content",
    [b"", b"0", b"\x30\x82", b"\x30\x80\x02\x01\x00\x02\0\0\0\0\0\0", b"\0" * 1000, b"0\x84\0"],
)
def test_binary_files_of_other_kinds_are_none(tmp_path: Path, content: bytes) -> None:
    assert not found(tmp_path, "model.bin", content)
