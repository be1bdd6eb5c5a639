"""Zips that are too large for one request: through S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.cache import Cache
from tests.integration.publish.conftest import REGION, Publisher, write_recipe
from tests.support.aws import ACCOUNT, FakeAws
from tests.support.command import layerpack
from tests.support.index import served_alone

pytestmark = pytest.mark.exhaustive

BUCKET = f"layerpack-{ACCOUNT}-{REGION}"
SIZE = 60_000_000


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, cache_of_module: Cache, uv_cache: Path
) -> Iterator[Path]:
    """A folder with a build of four layers of 60 MB and a small one."""
    folder = tmp_path_factory.mktemp("large")
    with served_alone(uv_cache) as index:
        # The distributions share the fifth.
        write_recipe(folder, index, weights=4, size=SIZE)
        ended = layerpack("build", "recipe.yaml", folder=folder, cache=cache_of_module.root)
    assert ended.code == 0, ended.errors
    yield folder
    # Half a gigabyte.
    shutil.rmtree(folder)
    shutil.rmtree(cache_of_module.root)


@pytest.fixture(scope="module")
def cache_of_module(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache that goes with the build."""
    return Cache(tmp_path_factory.mktemp("large-cache") / "cache")


@pytest.fixture
def publisher(large: Path, cache_of_module: Cache, aws: FakeAws) -> Iterator[Publisher]:
    """The large build, without a receipt."""
    yield Publisher(folder=large, cache=cache_of_module.root, url=aws.url)
    (large / "build/small/publish.json").unlink(missing_ok=True)


def make_bucket(aws: FakeAws, name: str, region: str = REGION) -> None:
    """A bucket in moto."""
    aws.client("s3", region).create_bucket(
        Bucket=name,
        **(
            {"CreateBucketConfiguration": {"LocationConstraint": region}}
            if region != "us-east-1"
            else {}
        ),
    )


def objects(aws: FakeAws, bucket: str) -> list[str]:
    """The keys in a bucket."""
    found = aws.client("s3").list_objects_v2(Bucket=bucket)
    return [one["Key"] for one in found.get("Contents", ())]


def test_four_layers_of_60_mb_go_through_s3(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, BUCKET)
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    hashes = publisher.hashes
    del hashes["function"]
    assert len(hashes) == 5
    assert aws.layers() == {name: [digest] for name, digest in hashes.items()}
    # In parts of 8 MB, each with its checksum; and nothing stays there.
    parts = [one for one in aws.asked if one.method == "PUT" and "partNumber" in one.path]
    assert len(parts) == 4 * 8
    assert all("x-amz-checksum-sha256" in one.headers for one in parts)
    # Whoever else has a bucket of that name is not sent anything.
    asked = [one for one in aws.asked if one.service == "s3"]
    assert {one.headers.get("x-amz-expected-bucket-owner") for one in asked} == {ACCOUNT}
    assert objects(aws, BUCKET) == []
    sent = [one for one in aws.asked if one.method == "POST" and one.path.endswith("/versions")]
    assert sum("S3Key" in one.json["Content"] for one in sent) == 4


def test_a_bucket_is_found_by_its_tag(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, "team-uploads")
    aws.client("s3").put_bucket_tagging(
        Bucket="team-uploads", Tagging={"TagSet": [{"Key": "layerpack", "Value": ""}]}
    )
    ended = publisher.publish("--dry-run")
    assert ended.code == 0, ended.errors
    assert "Bucket: team-uploads" in ended.output
    make_bucket(aws, "other-uploads")
    aws.client("s3").put_bucket_tagging(
        Bucket="other-uploads", Tagging={"TagSet": [{"Key": "layerpack", "Value": ""}]}
    )
    ended = publisher.publish("--dry-run")
    assert ended.code == 8
    assert "several buckets in eu-west-1 have the tag 'layerpack'" in ended.errors


def test_a_bucket_is_given_with_the_region_in_its_name(publisher: Publisher, aws: FakeAws) -> None:
    regions = ("eu-west-1", "us-east-1")
    for region in regions:
        make_bucket(aws, f"mine-{region}", region)
    ended = publisher.publish("--bucket", "mine-{region}", "--dry-run", regions=regions)
    assert ended.code == 0, ended.errors
    assert "Bucket: mine-us-east-1" in ended.output


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("", f"none is called {BUCKET}", f"aws s3 mb s3://{BUCKET} --region {REGION}"),
        ("nowhere-to-be-found", "bucket nowhere-to-be-found does not exist", "aws s3 mb"),
        ("in-america", "the bucket in-america is in us-east-1", "{region} in its name"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_told_before_anything_is_sent(
    publisher: Publisher, aws: FakeAws, given: str, message: str, hint: str
) -> None:
    make_bucket(aws, "in-america", "us-east-1")
    ended = publisher.publish(*(("--bucket", given) if given else ()))
    assert ended.code == 8
    assert message in ended.errors
    assert hint in ended.errors
    assert aws.layers() == {}
    written = [one for one in aws.asked if one.method in ("PUT", "POST")]
    assert not any(one.service in ("lambda", "s3") for one in written)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a-{place}", "in braces only {region} and {account} may stand"),
        ("a-{region.x}", "in braces only {region} and {account} may stand"),
        ("Bad_Bucket", "'Bad_Bucket' is not a bucket's name"),
        ("s3://zips", "no s3:// before it"),
        ("", "--bucket is empty"),
    ],
)
def test_names_that_are_none(publisher: Publisher, aws: FakeAws, given: str, message: str) -> None:
    ended = publisher.publish("--bucket", given)
    assert ended.code == 2
    assert message in ended.errors
    assert aws.asked == []


def test_parts_are_taken_back(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, BUCKET)
    client = aws.client("s3")
    failing = aws.add("PUT", "partNumber=3", times=99, status=403, code="AccessDenied")
    failing.body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    ended = publisher.publish()
    assert ended.code == 8
    assert "AWS does not allow it: Access Denied" in ended.errors
    assert client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert objects(aws, BUCKET) == []
    # What was small enough was published all the same.
    assert len(publisher.receipt[REGION]["layers"]) == 1


def test_what_lambda_refuses_does_not_stay_in_the_bucket(
    publisher: Publisher, aws: FakeAws
) -> None:
    make_bucket(aws, BUCKET)
    aws.add(
        *("POST", "/layers/small-weights-[0-9]/versions"),
        times=4,
        status=400,
        code="CodeStorageExceededException",
        message="Code storage limit exceeded.",
    )
    ended = publisher.publish()
    assert ended.code == 8
    assert "the account has no room left for code" in ended.errors
    assert "layerpack prune" in ended.errors
    assert objects(aws, BUCKET) == []


def test_what_another_run_is_sending_is_left_alone(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, BUCKET)
    client = aws.client("s3")
    client.create_multipart_upload(Bucket=BUCKET, Key="layerpack/another.zip")
    assert publisher.publish().code == 0
    assert len(client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]) == 1


def test_nothing_stays_in_a_bucket_that_keeps_versions(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, BUCKET)
    client = aws.client("s3")
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert publisher.publish().code == 0
    found = client.list_object_versions(Bucket=BUCKET)
    assert (found.get("Versions", []), found.get("DeleteMarkers", [])) == ([], [])
    sent = [one for one in aws.asked if one.method == "POST" and one.path.endswith("/versions")]
    assert sum("S3ObjectVersion" in one.json["Content"] for one in sent) == 4


def test_what_cannot_be_removed_is_told(publisher: Publisher, aws: FakeAws) -> None:
    make_bucket(aws, BUCKET)
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    aws.add("DELETE", "/layerpack/", times=9, status=403, body=denied)
    ended = publisher.publish()
    assert ended.code == 0, ended.errors
    assert ended.errors.count("stays in the bucket") == 4


def test_what_was_sent_and_cannot_be_looked_at_is_removed(
    publisher: Publisher, aws: FakeAws
) -> None:
    make_bucket(aws, BUCKET)
    aws.add("HEAD", "/layerpack/", times=99, status=403)
    ended = publisher.publish()
    assert ended.code == 8
    assert objects(aws, BUCKET) == []
