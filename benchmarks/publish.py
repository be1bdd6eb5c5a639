"""What publishing takes: five layers to ten regions, side by side and one region after the other.

    python -m benchmarks.publish [--runs 3] [--delay 0.1] [--layer-delay 2.0]

AWS is moto's server behind the tests' proxy, which waits before each answer as a network and AWS
would: `--delay` seconds for every request, `--layer-delay` more for a layer. Both ways wait alike;
what is compared is how they overlap. The layers are a small one, one of 7 MB and three of 26.
(moto is one process, so the larger they are, the more it is moto that is measured.) The second
run's requests are counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import measure
from tests.integration.publish.conftest import write_recipe
from tests.support.aws import SECRET, Asked, FakeAws, Rule, fake_aws
from tests.support.index import served_alone

_LAYERPACK: Final = (sys.executable, "-m", "layerpack")
_REGIONS: Final = (
    *("eu-west-1", "eu-west-2", "eu-central-1", "eu-north-1", "us-east-1"),
    *("us-east-2", "us-west-2", "ap-south-1", "ap-southeast-2", "ap-northeast-1"),
)


def main() -> None:
    """Build, publish, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--layer-delay", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="layerpack-benchmark-") as name, fake_aws() as aws:
        folder = Path(name)
        os.chdir(folder)
        os.environ |= {
            "LAYERPACK_CACHE_DIR": str(folder / "cache"),
            "LAYERPACK_VERIFY": "0",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
            **SECRET,
        }
        with served_alone(folder / "uv-cache") as index:
            write_recipe(folder, index, weights=3, size=26_000_000)
            measure((*_LAYERPACK, "build", "recipe.yaml"))
        times: dict[str, list[float]] = {"side by side": [], "one after the other": []}
        for _ in range(arguments.runs):
            for kind, seconds in times.items():
                _forget(aws, folder, arguments.delay, arguments.layer_delay)
                groups = [_REGIONS] if kind == "side by side" else [(one,) for one in _REGIONS]
                seconds.append(sum(_publish(aws, group) for group in groups))
        _print({kind: statistics.median(seconds) for kind, seconds in times.items()})
        aws.asked.clear()
        again = _publish(aws, _REGIONS)
        services: dict[str, int] = {}
        for asked in aws.asked:
            services[asked.service] = services.get(asked.service, 0) + 1
        sys.stdout.write(f"unchanged second run: {again:.1f} s, requests: {services}\n")


def _publish(aws: FakeAws, regions: Sequence[str]) -> float:
    where = [word for region in regions for word in ("--region", region)]
    command = (*_LAYERPACK, "publish", "build/small", *where, "--endpoint-url", aws.url)
    return measure(command).seconds


def _forget(aws: FakeAws, folder: Path, delay: float, layer_delay: float) -> None:
    """An account with nothing in it, and no receipt."""
    aws.reset()
    (folder / "build/small/publish.json").unlink(missing_ok=True)

    def waits(asked: Asked) -> bool:
        layer = asked.method == "POST" and asked.path.endswith("/versions")
        time.sleep(delay + (layer_delay if layer else 0))
        return False

    aws.rules.append(Rule(matches=waits))


def _print(medians: Mapping[str, float]) -> None:
    first = next(iter(medians.values()))
    for kind, seconds in medians.items():
        sys.stdout.write(f"{kind:<22} {seconds:7.1f} s  {seconds / first:5.2f}\n")


if __name__ == "__main__":
    main()
