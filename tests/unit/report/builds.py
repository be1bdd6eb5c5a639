"""Small builds with the proportions of real ones; their sums are computed from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

from layerpack.manifest import (
    DistributionRecord,
    FileInventory,
    FileRecord,
    FunctionRecord,
    LayerRecord,
    LimitsRecord,
    Manifest,
    PagedRecord,
    PartRecord,
    PassRecord,
    RemarkRecord,
    Totals,
)

LIMITS = LimitsRecord(
    unzipped_bytes=262_144_000,
    layers=5,
    direct_upload_zip_bytes=52_428_800,
    function_budget_bytes=5_242_880,
)


PAGER = "lib/liblayerpack_pager.so.1"


class Build(NamedTuple):
    """A build's two records."""

    manifest: Manifest
    inventory: FileInventory


def file(
    path: str,
    size: int,
    zipped: int,
    distribution: str,
    layer: str,
    *,
    content: str = "",
    paged: PagedRecord | None = None,
) -> FileRecord:
    """A packed file; its hash is that of path and `content`."""
    sha256 = hashlib.sha256(f"{path} {size} {content}".encode("utf-8", "surrogatepass")).hexdigest()
    return FileRecord(
        path=path,
        size=size,
        zipped=zipped,
        sha256=sha256,
        distribution=distribution,
        layer=layer,
        paged=paged,
    )


def remark(
    pass_name: str,
    action: str,
    path: str,
    reason: str,
    sizes: tuple[int, int],
    *,
    paged: PagedRecord | None = None,
) -> RemarkRecord:
    """A remark with `sizes` before and after; the distribution is the path's second part."""
    return RemarkRecord(
        pass_name=pass_name,
        action=action,
        path=path,
        distribution=path.split("/")[1],
        reason=reason,
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        paged=paged,
    )


def build(
    files: Iterable[FileRecord],
    remarks: Iterable[RemarkRecord] = (),
    *,
    name: str = "demo",
    runtime: str = "python3.12",
    versions: dict[str, str] | None = None,
    passes: Iterable[str] = (),
    budget: int = LIMITS.function_budget_bytes,
    notes: tuple[str, ...] = (),
) -> Build:
    """The records of a build with these files; those of layer `function` are the function's."""
    files, remarks = tuple(sorted(files, key=lambda item: item.path)), tuple(remarks)
    saved = {one: sum(_saved(r) for r in remarks if r.pass_name == one) for one in passes}
    unzipped = sum(item.size for item in files)
    left = unzipped + sum(saved.values())
    pass_records = []
    for one in passes:
        touched = [r for r in remarks if r.pass_name == one and r.action != "keep"]
        pass_records.append(
            PassRecord(
                name=one, files=len(touched), bytes_before=left, bytes_after=left - saved[one]
            )
        )
        left -= saved[one]
    layers = tuple(
        _layer(layer, files) for layer in sorted({f.layer for f in files} - {"function"})
    )
    own = [item for item in files if item.layer == "function"]
    function = None
    if own:
        function = FunctionRecord(
            file="function.zip",
            handler="app.handler",
            sha256=_sha256(own),
            zipped_bytes=sum(item.zipped for item in own),
            unzipped_bytes=sum(item.size for item in own),
            budget_bytes=budget,
        )
    names = {item.distribution for item in files} | {item.distribution for item in remarks}
    manifest = Manifest(
        name=name,
        description="A stack for a test",
        runtime=runtime,
        architecture="x86_64",
        lock_sha256="0" * 64,
        layers=layers,
        function=function,
        totals=Totals(unzipped_bytes=unzipped, zipped_bytes=sum(item.zipped for item in files)),
        naive_unzipped_bytes=unzipped + sum(saved.values()),
        distributions=tuple(
            _distribution(item, (versions or {}).get(item, "1.0"), files, remarks)
            for item in sorted(names - {"function"})
        ),
        system_libraries=(),
        passes=tuple(pass_records),
        limits=LIMITS,
        tools={"layerpack": "0.1.0"},
        notes=notes,
    )
    return Build(manifest, FileInventory(files=files, remarks=remarks))


def fitting() -> Build:
    """spaCy and numpy after every pass: fits with room."""
    return build(
        [
            file("python/numpy/core/numeric.py", 80_000, 20_000, "numpy", "demo-base"),
            file("python/numpy/core/_simd.so", 3_400_000, 550_000, "numpy", "demo-base"),
            file("python/numpy/tests/test_a.py", 9_000, 2_000, "numpy", "demo-base"),
            file("python/numpy.libs/libopenblas.so", 33_700_000, 9_700_000, "numpy", "demo-base"),
            file("python/spacy/__init__.py", 3_000, 1_000, "spacy", "demo-spacy"),
            file("python/spacy/lang/en/__init__.py", 2_000, 700, "spacy", "demo-spacy"),
            file("python/spacy/tokens/doc.so", 823_464, 327_800, "spacy", "demo-spacy"),
            file(
                "python/en_core_web_sm/model", 6_300_000, 5_800_000, "en-core-web-sm", "demo-spacy"
            ),
            file("app.py", 2_310, 901, "function", "function"),
        ],
        [
            remark(
                "tests", "remove", "python/spacy/tests/test_doc.py", "a test suite", (40_000, 0)
            ),
            remark("tests", "remove", "python/spacy/tests/test_en.py", "a test suite", (30_000, 0)),
            remark("tests", "keep", "python/numpy/tests/test_a.py", "is imported", (9_000, 9_000)),
            remark(
                "sources", "remove", "python/spacy/tokens/doc.pyx", "only to build", (62_000, 0)
            ),
            remark(
                "spacy-languages",
                "remove",
                "python/spacy/lang/de/__init__.py",
                "not kept",
                (616, 0),
            ),
            remark(
                "symbols", "rewrite", "python/spacy/tokens/doc.so", "symbols", (7_200_000, 823_464)
            ),
        ],
        versions={"numpy": "1.26.4", "spacy": "3.8.18", "en-core-web-sm": "3.8.0"},
        passes=("tests", "docs", "sources", "spacy-languages", "symbols"),
        notes=("numpy carries OpenBLAS.",),
    )


def too_large() -> Build:
    """MXNet, spaCy with its languages, botocore and a model, with hardly a pass: over."""
    return build(
        [
            file("python/mxnet/libmxnet.so", 153_857_136, 38_471_043, "mxnet", "demo-mxnet"),
            file("python/mxnet/libopenblas.so.0", 29_100_000, 8_300_000, "mxnet", "demo-mxnet"),
            file("python/mxnet/x.pyc", 5_000_000, 2_000_000, "mxnet", "demo-mxnet"),
            file("python/spacy/tokens/doc.so", 20_000_000, 2_000_000, "spacy", "demo-spacy"),
            file("python/spacy/lang/en/__init__.py", 2_000, 700, "spacy", "demo-spacy"),
            file("python/spacy/lang/de/__init__.py", 3_000, 800, "spacy", "demo-spacy"),
            file("python/spacy/lang/fr/lemma.py", 400_000, 90_000, "spacy", "demo-spacy"),
            file("python/spacy/lang/xx/__init__.py", 500, 200, "spacy", "demo-spacy"),
            file("python/spacy/lang/norm.py", 7_000, 2_000, "spacy", "demo-spacy"),
            file("python/botocore/data/ec2.json", 21_000_000, 1_200_000, "botocore", "demo-spacy"),
            file(
                "python/en_core_web_sm/model", 6_300_000, 5_800_000, "en-core-web-sm", "demo-spacy"
            ),
            file(
                "assets/encoder/model.params",
                90_900_000,
                83_200_000,
                "asset:encoder",
                "demo-encoder",
            ),
            file("app.py", 2_310, 901, "function", "function"),
        ],
        versions={"mxnet": "1.9.1", "spacy": "3.8.18", "botocore": "1.44.5"},
        passes=("tests", "docs", "sources", "metadata"),
    )


def paged() -> Build:
    """MXNet and its BLAS with their code compressed, six small libraries, and the pager."""
    libraries = {
        "mxnet/libmxnet.so": (153_857_136, 18_900_000, 119_000_000, 33_800_000, 3_600),
        "mxnet/libopenblas.so.0": (29_100_000, 1_600_000, 27_400_000, 7_800_000, 170),
        **{
            f"spacy/part{n}.cpython-312-x86_64-linux-gnu.so": (800_000, 90_000, 700_000, 210_000, n)
            for n in range(6)
        },
    }
    files = [
        file("python/spacy/__init__.py", 3_000, 1_000, "spacy", "demo-mxnet"),
        file(PAGER, 90_000, 40_000, "layerpack-pager", "demo-mxnet"),
    ]
    remarks = []
    for path, (original, mapped, code, compressed, hot) in libraries.items():
        record = PagedRecord(
            original_bytes=original,
            mapped_bytes=mapped,
            paged_bytes=code,
            compressed_bytes=compressed,
            hot_pages=hot,
        )
        size = mapped + compressed + 9_000
        name = path.partition("/")[0]
        files.append(file(f"python/{path}", size, size - 50_000, name, "demo-mxnet", paged=record))
        remarks.append(
            remark("paged", "rewrite", f"python/{path}", "packed", (original, size), paged=record)
        )
    return build(files, remarks, passes=("paged",))


def left_out() -> Build:
    """A build without some of MXNet's operators."""
    parts = [
        PartRecord(
            kind="operator",
            name=name,
            kept=kept,
            reason="a workload runs it" if kept else "nothing asks for it",
            code_bytes=size,
            aliases=aliases,
        )
        for name, kept, size, aliases in (
            ("softmax", True, 448_100, ("_npx_softmax",)),
            ("Convolution", False, 145_600, ("_npx_convolution",)),
            ("_npi_einsum", False, 5_400_000, ()),
        )
    ]
    record = PagedRecord(
        original_bytes=153_857_136,
        mapped_bytes=8_800_000,
        paged_bytes=136_000_000,
        compressed_bytes=15_400_000,
        hot_pages=3_600,
        dropped_bytes=59_500_000,
        dropped_variant_bytes=3_000_000,
        parts=tuple(parts),
    )
    path = "python/mxnet/libmxnet.so"
    return build(
        [file(path, 24_800_000, 17_300_000, "mxnet", "demo-mxnet", paged=record)],
        [remark("paged", "rewrite", path, "packed", (153_857_136, 24_800_000))],
        passes=("paged",),
    )


def _saved(record: RemarkRecord) -> int:
    return record.bytes_before - record.bytes_after


def _sha256(files: Iterable[FileRecord]) -> str:
    return hashlib.sha256("".join(item.sha256 for item in files).encode()).hexdigest()


def _layer(name: str, files: tuple[FileRecord, ...]) -> LayerRecord:
    held = [item for item in files if item.layer == name]
    return LayerRecord(
        name=name,
        file=f"layers/{name}.zip",
        sha256=_sha256(held),
        zipped_bytes=sum(item.zipped for item in held),
        unzipped_bytes=sum(item.size for item in held),
        distributions=tuple(sorted({item.distribution for item in held})),
    )


def _distribution(
    name: str, version: str, files: tuple[FileRecord, ...], remarks: tuple[RemarkRecord, ...]
) -> DistributionRecord:
    held = [item for item in files if item.distribution == name]
    packed = sum(item.size for item in held)
    kind: Literal["wheel", "asset"] = "asset" if name.startswith("asset:") else "wheel"
    return DistributionRecord(
        name=name,
        version=version,
        kind=kind,
        file=f"{name}-{version}.whl",
        sha256="a" * 64,
        naive_bytes=packed + sum(_saved(r) for r in remarks if r.distribution == name),
        packed_bytes=packed,
        layers=tuple(sorted({item.layer for item in held})),
    )
