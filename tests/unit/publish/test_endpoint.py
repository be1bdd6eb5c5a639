"""An endpoint's address may hold a password, which no message shows."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from layerpack.errors import LayerpackError
from layerpack.publish.aws import Access, Aws

ENDPOINT = "http://me:p@s3cret@127.0.0.1:9"


@pytest.mark.parametrize(
    "endpoint", ["me:p@s3cret@-h", "http://me:p@s3cret@-h", "http://me:p@s3cret@[h"]
)
def test_a_password_in_an_endpoint_that_is_none_is_not_shown(endpoint: str) -> None:
    with pytest.raises(LayerpackError) as caught:
        Aws(Access(endpoint_url=endpoint)).region("eu-west-1")
    assert "--endpoint-url" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_in_an_endpoint_that_does_not_answer_is_not_shown() -> None:
    with pytest.raises(LayerpackError) as caught, Aws(Access()).told("publishing"):
        raise EndpointConnectionError(endpoint_url=ENDPOINT)
    assert "127.0.0.1" in str(caught.value)
    assert "s3cret" not in str(caught.value)
