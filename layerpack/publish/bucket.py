"""S3, for zips that are too large for one request: the bucket, and what is sent there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from layerpack import data
from layerpack.errors import PublishError, UsageError
from layerpack.publish.aws import Region
from layerpack.publish.checks import Artifact
from layerpack.publish.errors import AwsError

#: A bucket of this name, or with this tag, is layerpack's to send zips to.
NAME: Final = "layerpack-{account}-{region}"
TAG: Final = "layerpack"
_FOLDER: Final = "layerpack/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A bucket; `account` is whose it must be (empty: whoever's the user names)."""

    name: str
    account: str = ""

    @property
    def owner(self) -> dict[str, str]:
        """What S3's requests say of its owner: a name that somebody else has taken is refused."""
        return {"ExpectedBucketOwner": self.account} if self.account else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A zip in a bucket: its key, and the version there, if the bucket keeps versions."""

    bucket: Bucket
    key: str
    version: str

    @property
    def code(self) -> dict[str, str]:
        """As Lambda's requests name it."""
        version = {"S3ObjectVersion": self.version} if self.version else {}
        return {"S3Bucket": self.bucket.name, "S3Key": self.key, **version}


def check_name(given: str) -> None:
    """Raises UsageError for a --bucket that can be none."""
    name = _filled(given, "eu-west-1", "123456789012")
    if "{" in name or "}" in name:
        raise UsageError(
            f"--bucket '{given}': in braces only {{region}} and {{account}} may stand",
            "--bucket 'zips-{region}', for example.",
        )
    if not re.fullmatch(data.load("publish.json")["bucket"], name):
        raise UsageError(
            f"--bucket: '{name}' is not a bucket's name",
            "3 to 63 small letters, digits, '-' and '.'; no s3:// before it.",
        )


def _filled(given: str, region: str, account: str) -> str:
    return given.replace("{region}", region).replace("{account}", account)


def find_bucket(region: Region, given: str) -> Bucket:
    """The bucket for zips in a region: the one given (`{region}` and `{account}` stand for these),
    or one of this account's by its name, or by its tag.

    It is there, in that region, and these credentials may look at it. Raises PublishError.
    """
    account = region.identity.account
    if given:
        bucket = Bucket(name=_filled(given, region.name, account))
        _look(region, bucket, given)
        return bucket
    usual = Bucket(name=NAME.format(region=region.name, account=account), account=account)
    try:
        _look(region, usual, given)
    except AwsError as error:
        if error.status != 404:
            raise
    else:
        return usual
    tagged = _tagged(region)
    if len(tagged) > 1:
        raise PublishError(
            f"several buckets in {region.name} have the tag '{TAG}': {', '.join(tagged)}",
            "Name one with --bucket.",
        )
    if tagged:
        bucket = Bucket(name=tagged[0], account=account)
        _look(region, bucket, given)
        return bucket
    raise PublishError(
        f"a zip is too large for one request, and {region.name} has no bucket for it: none is "
        f"called {usual.name}, none has the tag '{TAG}'",
        f"Make one (aws s3 mb s3://{usual.name} --region {region.name}), or name one with "
        "--bucket.",
    )


def _look(region: Region, bucket: Bucket, given: str) -> None:
    """Raises AwsError where the bucket is not there, PublishError where it is elsewhere."""
    name = bucket.name
    try:
        with region.told(f"looking for the bucket {name}"):
            answer = region.s3.head_bucket(Bucket=name, **bucket.owner)
    except AwsError as error:
        if error.status == 404:
            error.message = f"bucket {name} does not exist (needed in {region.name})"
            error.hint = f"Make it: aws s3 mb s3://{name} --region {region.name}"
        elif error.status == 403:
            error.message = f"the bucket {name} may not be used, or is somebody else's"
            error.hint = "Name one of this account's with --bucket, or allow s3:ListBucket on it."
        elif error.status == 301:
            raise _elsewhere(name, "another region", region, given) from None
        elif error.status == 400:
            # S3 gives no reason to a HEAD.
            error.hint = "The credentials may have expired, or the bucket is in another region."
        raise
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    home = answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or region.name
    if home != region.name:
        raise _elsewhere(name, home, region, given)


def _elsewhere(name: str, home: str, region: Region, given: str) -> PublishError:
    hint = "A function takes its zips from a bucket of its own region: name one there"
    more = "" if "{region}" in given else ", or with {region} in its name for several regions"
    return PublishError(
        f"the bucket {name} is in {home}, and the layers go to {region.name}",
        f"{hint} (--bucket){more}.",
    )


def _tagged(region: Region) -> list[str]:
    try:
        with region.told(f"looking for buckets with the tag '{TAG}'"):
            pages = region.tags.get_paginator("get_resources").paginate(
                TagFilters=[{"Key": TAG}], ResourceTypeFilters=["s3"]
            )
            arns = [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]
    except AwsError as error:
        error.hint = error.hint or "Name a bucket with --bucket."
        raise
    return sorted(arn.rpartition(":")[2] for arn in arns)


def send(
    region: Region, bucket: Bucket, artifact: Artifact, progress: Callable[[int], None]
) -> Sent:
    """Send a zip to S3. Parts that a run left which died long ago are taken back.

    The key is this run's own: another one may be sending the same zip. `progress` is called with
    bytes, in other threads, and may raise to end it. Raises AwsError.
    """
    key = f"{_FOLDER}{artifact.sha256}-{secrets.token_hex(4)}.zip"
    _take_back_parts(region, bucket)
    with region.told(f"sending {artifact.path.name} to the bucket {bucket.name}"):
        region.upload(artifact.path, bucket.name, key, progress, bucket.owner)
    try:
        with region.told(f"looking at {key} in the bucket {bucket.name}"):
            answer = region.s3.head_object(Bucket=bucket.name, Key=key, **bucket.owner)
    except AwsError:
        remove(region, Sent(bucket=bucket, key=key, version=""))
        raise
    return Sent(bucket=bucket, key=key, version=_version(answer))


def _version(answer: Mapping[str, Any]) -> str:
    # "null" is that of a bucket whose versions are suspended.
    version = str(answer.get("VersionId") or "")
    return "" if version == "null" else version


def remove(region: Region, sent: Sent) -> str:
    """Remove what was sent, once Lambda has its own copy; gives why that failed, or nothing."""
    version = {"VersionId": sent.version} if sent.version else {}
    try:
        with region.told(f"removing {sent.key} from the bucket {sent.bucket.name}"):
            region.s3.delete_object(
                Bucket=sent.bucket.name, Key=sent.key, **version, **sent.bucket.owner
            )
    except AwsError as error:
        return error.message
    return ""


def _take_back_parts(region: Region, bucket: Bucket) -> None:
    try:
        with region.told(f"looking for unfinished parts in the bucket {bucket.name}"):
            answer = region.s3.list_multipart_uploads(
                Bucket=bucket.name, Prefix=_FOLDER, **bucket.owner
            )
            for one in abandoned(answer.get("Uploads") or (), datetime.now(UTC)):
                region.s3.abort_multipart_upload(
                    Bucket=bucket.name, Key=one["Key"], UploadId=one["UploadId"], **bucket.owner
                )
    except AwsError as error:
        # Without the right to list them the upload itself may be allowed all the same.
        if error.unanswered:
            raise


def abandoned(uploads: Iterable[Mapping[str, Any]], now: datetime) -> list[Mapping[str, Any]]:
    """Of unfinished uploads, as S3 lists them, those that are too old to be going on. Pure."""
    hours = data.load("publish.json")["unfinished_upload_hours"]
    return [one for one in uploads if now - one["Initiated"] > timedelta(hours=hours)]
