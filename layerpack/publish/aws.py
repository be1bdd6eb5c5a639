"""The only door to AWS: boto3's clients, how fast they ask, and what their refusals mean.

Credentials are boto3's own affair (profiles, SSO, roles, variables); none of them gets into a
message.
"""

from __future__ import annotations

import difflib
import http.client
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as raised
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.parsers import ResponseParserError
from botocore.session import Session as BareSession

from layerpack import data
from layerpack.downloads import UnfitError, receive
from layerpack.errors import PublishError, UsageError
from layerpack.publish.errors import AwsError
from layerpack.publish.meanings import UNKNOWN_CREDENTIALS, meaning_of
from layerpack.publish.place import Place
from layerpack.publish.zip_body import insert_zip
from layerpack.units import without_users

#: Of the requests that AWS takes, so that other tools of the account get some too.
_SHARE: Final = 0.8
#: How often what may be asked again is asked.
_ATTEMPTS: Final = 6
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
#: AWS answers a zip of 50 MB only when it has looked into it; a function may run for 15 minutes.
_LONG_READ_SECONDS: Final = 960
_PART_BYTES: Final = 8 * 2**20
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How AWS is reached: a profile of the standard configuration and another endpoint, both empty
    where boto3 decides."""

    profile: str = ""
    endpoint_url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Whose credentials these are: the account's number, the ARN, and its partition (`aws`)."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """The ARN's second part: `aws`, `aws-cn`, `aws-us-gov`."""
        return self.arn.split(":")[1]


class Pacer:
    """Keeps requests to one region's control plane below AWS's throttle."""

    def __init__(self, requests_per_second: float) -> None:
        self._gap = 1 / requests_per_second
        self._lock = threading.Lock()
        self._next = 0.0

    def __call__(self, **_: Any) -> None:
        """Wait for this request's turn (a handler of botocore's `before-send`)."""
        time.sleep(self.turn(time.monotonic()))

    def turn(self, now: float) -> float:
        """How many seconds the next request has to wait, asked for at the time `now`."""
        with self._lock:
            turn = max(now, self._next)
            self._next = turn + self._gap
        return turn - now


class Aws:
    """The clients of one session. Raises UsageError for a profile or an endpoint that is none."""

    def __init__(self, access: Access) -> None:
        self.access = access
        # Sessions are not safe in threads, their clients are.
        # An error while it is held hides secrets, for which it is taken again.
        self._lock = threading.RLock()
        self._regions: dict[str, Region] = {}
        self._secrets: set[str] = set()
        #: Known after `identify`.
        self.identity = Identity(account="", arn="::")
        try:
            self._session = boto3.session.Session(profile_name=access.profile or None)
        except raised.ProfileNotFound:
            raise _no_profile(access.profile) from None
        except BotoCoreError as error:
            raise self._error("reading the AWS configuration", error) from None

    def regions(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The regions to work in: those wanted, or the configuration's own.

        Raises UsageError for one that boto3 does not know, and where none is named.
        """
        own = self._session.region_name
        if not wanted and not own:
            raise UsageError(
                "in which region? None was named, and the AWS configuration has none",
                "--region eu-west-1, for example; repeat it for several.",
            )
        known = {
            region
            for partition in self._session.get_available_partitions()
            for region in self._session.get_available_regions("lambda", partition)
        }
        for name in wanted or (str(own),):
            if name not in known:
                near = difflib.get_close_matches(name.lower()[:20], sorted(known), n=1)
                hint = f"Did you mean {near[0]}? " if near else ""
                origin = "" if wanted else " (from the AWS configuration)"
                raise UsageError(
                    f"boto3 {boto3.__version__} knows no region '{name}'{origin} with Lambda",
                    f"{hint}Repeat --region for several. For a new one, update boto3: "
                    "pip install -U boto3.",
                )
        return tuple(dict.fromkeys(wanted or (str(own),)))

    def identify(self, regions: Sequence[str]) -> Identity:
        """Whose credentials these are. Raises AwsError.

        Each region is asked until one answers: where one is not enabled it knows nobody, and that
        is its own affair.
        """
        refused: AwsError | None = None
        for region in regions:
            try:
                with self.told("asking AWS whose credentials these are"):
                    answer = self.client("sts", region).get_caller_identity()
            except AwsError as error:
                if error.code not in UNKNOWN_CREDENTIALS:
                    raise
                refused = refused or error
            else:
                self.identity = Identity(account=answer["Account"], arn=answer["Arn"])
                return self.identity
        raise refused or UsageError("no region was named")

    def region(self, name: str) -> Region:
        """The clients of one region. Raises UsageError, AwsError where the configuration is
        broken."""
        with self._lock:
            if name not in self._regions:
                self._regions[name] = Region(self, name)
            return self._regions[name]

    def client(self, service: str, region: str, *, once: bool = False) -> Any:
        """A client; `once`: one that asks once, and waits for what takes long."""
        path_style = self.access.endpoint_url or any(os.environ.get(name) for name in _ENDPOINTS)
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_LONG_READ_SECONDS if once else _READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1 if once else _ATTEMPTS},
            tcp_keepalive=True,
            # Another endpoint seldom has a name for each bucket.
            s3={"addressing_style": "path"} if path_style else None,
            max_pool_connections=20,
        )
        with self.told("reading the AWS configuration"):
            try:
                return self._session.client(
                    service,
                    region_name=region,
                    endpoint_url=self.access.endpoint_url or None,
                    config=config,
                )
            except ValueError as error:
                # The second is urlsplit's, "Invalid IPv6 URL", for a bracket that is not closed.
                if not self.access.endpoint_url or not re.search("(?i)endpoint|url", str(error)):
                    raise
                # One without a scheme may have a password, too.
                shown = self.access.endpoint_url.rpartition("@")[2]
                raise UsageError(
                    f"--endpoint-url: '{shown}' is not a URL",
                    "A URL such as http://localhost:4566.",
                ) from None

    @property
    def ca_bundle(self) -> str:
        """The file of certificates that botocore trusts."""
        named = self._session._session.get_config_variable("ca_bundle")
        return str(named or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True))

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn what AWS or the way to it refuses into an AwsError that says what was done.

        `doing` begins the sentence, such as `publishing bert-numpy in eu-west-1`.
        """
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, ResponseParserError) as error:
            raise self._error(doing, error) from None
        except (OSError, ValueError) as error:
            # What a credential provider, or an address, makes of an odd configuration.
            raise self._error(doing, error) from None

    def _error(self, doing: str, error: Exception) -> AwsError:
        # A transfer's own error has only the text of the client's.
        inner = error.__context__ if isinstance(error, Boto3Error) else None
        cause = inner if isinstance(inner, BotoCoreError | ClientError) else error
        meaning = meaning_of(cause, self.access.profile)
        return AwsError(
            self._hidden(f"{doing}: {meaning.text}"),
            self._hidden(meaning.hint),
            meaning=replace(meaning, text="", hint=""),
        )

    def _hidden(self, text: str) -> str:
        """The text without the credentials, which AWS repeats in some of its refusals, and without
        those of an endpoint's address."""
        text = without_users(text)
        try:
            credentials = self._session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
        except Exception:  # whatever a provider of credentials raises: no new ones are to be hidden
            frozen = None
        with self._lock:
            if frozen:
                # Those that were there before a refresh are secrets still.
                self._secrets |= {frozen.access_key, frozen.secret_key, frozen.token or ""}
            secrets = sorted(self._secrets, key=len, reverse=True)
        for secret in secrets:
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


class Region:
    """The clients of one region: `lambda_` asks again what may be asked again, `once` does not,
    and waits for what takes long."""

    def __init__(self, aws: Aws, name: str) -> None:
        self.name = name
        self._aws = aws
        self._pacer = Pacer(_SHARE * data.load("publish.json")["requests_per_second"])
        self.lambda_ = self._paced(aws.client("lambda", name))
        self.once = self._paced(aws.client("lambda", name, once=True))
        self.s3 = aws.client("s3", name)
        self.tags = aws.client("resourcegroupstaggingapi", name)
        self.iam = aws.client("iam", name)

    @property
    def identity(self) -> Identity:
        """Whose credentials these are."""
        return self._aws.identity

    @property
    def place(self) -> Place:
        """This region, for the receipt."""
        parts = urlsplit(str(self.lambda_.meta.endpoint_url))
        # A name and a password in it are nobody else's business.
        endpoint = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        host = parts.hostname or ""
        own = re.search(r"\.(amazonaws\.com(\.cn)?|aws\.[a-z.]+|api\.aws)$", host)
        return Place(
            region=self.name, account=self.identity.account, endpoint="" if own else endpoint
        )

    def arn(self, kind: str, name: str) -> str:
        """The ARN of something of Lambda's, such as `layer`, here, without a version."""
        who = self.identity
        return f"arn:{who.partition}:lambda:{self.name}:{who.account}:{kind}:{name}"

    def told(self, doing: str) -> Any:
        """See `Aws.told`; the region's name ends the sentence."""
        return self._aws.told(f"{doing} in {self.name}")

    def download(self, address: str, path: Path) -> None:
        """Write what is at an address that AWS gave into a file (the address holds a signature, so
        it is never printed). Raises PublishError.
        """
        if urlsplit(address).scheme not in ("https", "http"):
            raise PublishError(f"{self.name} returned an unsupported download URL")
        try:
            trust = ssl.create_default_context(cafile=self._aws.ca_bundle)
            with (
                urllib.request.urlopen(  # noqa: S310 (the scheme is looked at above)
                    address, timeout=_READ_SECONDS, context=trust
                ) as answer,
                path.open("wb") as file,
            ):
                receive(answer, int(answer.headers.get("Content-Length") or 0), file)
                return
        except UnfitError as error:
            reason = f"it {error}"
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        raise PublishError(f"downloading from {self.name} failed: {reason}", "Publish again.")

    def upload(
        self, path: Path, bucket: str, key: str, progress: Any, owner: dict[str, str]
    ) -> None:
        """Send a file to S3, in parts where it is large, each with its checksum; parts are taken
        back where that fails. `progress` is called with bytes, and may raise; `owner` is whose the
        bucket must be, as S3's requests have it."""
        self.s3.upload_file(
            str(path),
            bucket,
            key,
            ExtraArgs={"ChecksumAlgorithm": "SHA256", **owner},
            Callback=progress,
            Config=TransferConfig(
                multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
            ),
        )

    def _paced(self, client: Any) -> Any:
        client.meta.events.register("before-send.lambda", self._pacer)
        client.meta.events.register("before-call.lambda", insert_zip)
        return client


def _no_profile(name: str) -> UsageError:
    try:
        # boto3's own session does not come to be where AWS_PROFILE is wrong.
        known = sorted(BareSession().available_profiles)
    except BotoCoreError:
        known = []
    chosen = name or os.environ.get("AWS_PROFILE", "")
    near = difflib.get_close_matches(chosen, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return UsageError(
        f"the AWS configuration has no profile '{chosen}'",
        f"{hint}It has: {', '.join(known) or 'none'}.",
    )
