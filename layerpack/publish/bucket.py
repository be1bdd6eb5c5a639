"""S3, for zips that are too large for one request: the bucket, and what is sent there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from layerpack.errors import PublishError, UsageError
from layerpack.publish.aws import Identity, Region
from layerpack.publish.checks import Artifact
from layerpack.publish.errors import AwsError

#: A bucket of this name, or with this tag, is layerpack's to send zips to.
NAME: Final = "layerpack-{account}-{region}"
TAG: Final = "layerpack"
_FOLDER: Final = "layerpack/"


def find_bucket(region: Region, identity: Identity, given: str) -> str:
    """The bucket for zips in a region: the one given (`{region}` and `{account}` stand for these),
    or one by its name, or by its tag.

    It is there, in that region, and these credentials may look at it. Raises PublishError.
    """
    if given:
        try:
            name = given.format(region=region.name, account=identity.account)
        except (KeyError, IndexError, ValueError):
            raise UsageError(
                f"--bucket {given!r}: in braces only {{region}} and {{account}} may stand"
            ) from None
        _look(region, name, given)
        return name
    usual = NAME.format(region=region.name, account=identity.account)
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
        _look(region, tagged[0], given)
        return tagged[0]
    raise PublishError(
        f"a zip is too large for one request, and there is no bucket for it in {region.name}: none "
        f"is called {usual}, none has the tag '{TAG}'",
        f"Make one (aws s3 mb s3://{usual} --region {region.name}), or name one with --bucket.",
    )


def _look(region: Region, name: str, given: str) -> None:
    """Raises AwsError where the bucket is not there, PublishError where it is elsewhere."""
    try:
        with region.told(f"looking for the bucket {name}"):
            answer = region.s3.head_bucket(Bucket=name)
    except AwsError as error:
        if error.status == 404:
            error.message = f"there is no bucket {name} (needed in {region.name})"
            error.hint = f"Make it: aws s3 mb s3://{name} --region {region.name}"
        if error.status == 403:
            error.message = f"the bucket {name} may not be used, or is somebody else's"
            error.hint = "Name one of this account's with --bucket, or allow s3:ListBucket on it."
        if error.status in (301, 400):
            raise _elsewhere(name, "another region", region, given) from None
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


def send(region: Region, bucket: str, artifact: Artifact, progress: Callable[[int], None]) -> str:
    """Send a zip to S3, and give its key. Parts that an earlier, killed run left are taken back.

    `progress` is called with bytes, in other threads, and may raise to end it. Raises AwsError.
    """
    key = f"{_FOLDER}{artifact.sha256}.zip"
    _take_back_parts(region, bucket, key)
    with region.told(f"sending {artifact.path.name} to the bucket {bucket}"):
        region.upload(artifact.path, bucket, key, progress)
    return key


def remove(region: Region, bucket: str, key: str) -> str:
    """Remove what was sent, once Lambda has its own copy; gives why that failed, or nothing."""
    try:
        with region.told(f"removing {key} from the bucket {bucket}"):
            region.s3.delete_object(Bucket=bucket, Key=key)
    except AwsError as error:
        return error.message
    return ""


def _take_back_parts(region: Region, bucket: str, key: str) -> None:
    """Nobody else writes keys of this form: they name their content."""
    try:
        with region.told(f"looking for unfinished parts in the bucket {bucket}"):
            answer = region.s3.list_multipart_uploads(Bucket=bucket, Prefix=key)
            for one in answer.get("Uploads") or ():
                region.s3.abort_multipart_upload(
                    Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"]
                )
    except AwsError as error:
        # Without the right to list them the upload itself may be allowed all the same.
        if error.unanswered:
            raise
