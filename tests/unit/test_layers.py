"""Layers: what belongs together stays together, and small changes move nothing large."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from layerpack.errors import LimitError
from layerpack.layers import Group, LayerPlan, group, plan_layers
from layerpack.payload import FileEntry

ZIP = 50_000
ZIP_FILES = 65_534
# Lambda's CreateLayerVersion: LayerName.
VALID_NAME = re.compile(r"[a-zA-Z0-9-_]{1,140}")


def entry(path: str, size: int, distribution: str) -> FileEntry:
    """A file that exists in the plan only."""
    return FileEntry(
        path=path,
        size=size,
        mode=0o644,
        sha256=path,
        distribution=distribution,
        source=Path("none"),
    )


def size_of(one: FileEntry) -> int:
    """In these tests a file is as large in the zip as out of it."""
    return one.size


def whole(name: str, *sizes: int) -> Group:
    """A group with files of the sizes; `asset:` before the name makes it an asset."""
    (made,) = group(
        [entry(f"{name}/{number}", size, name) for number, size in enumerate(sizes)], size_of
    )
    return made


def plan(
    groups: Sequence[Group],
    *,
    at_most: int = 5,
    zip_bytes: int | None = ZIP,
    zip_files: int = ZIP_FILES,
    name: str = "r",
    anywhere: Sequence[str] = (),
) -> LayerPlan:
    """The plan for the groups."""
    return plan_layers(
        groups,
        size_of,
        name=name,
        at_most=at_most,
        zip_bytes=zip_bytes,
        zip_files=zip_files,
        anywhere=anywhere,
    )


def shown(result: LayerPlan) -> dict[str, list[str]]:
    """Each layer's name with the names of its groups."""
    return {layer.name: [one.name for one in layer.groups] for layer in result.layers}


def random_groups(seed: int) -> list[Group]:
    """Between none and 40 groups, many small and some over the zip's size."""
    chance = random.Random(seed)
    groups = []
    for number in range(chance.randrange(41)):
        prefix = chance.choice(["", "", "", "asset:"])
        largest = chance.choice([200, 2_000, 20_000, 60_000])
        sizes = [chance.randrange(1, largest) for _ in range(chance.randrange(1, 8))]
        groups.append(whole(f"{prefix}d{number}", *sizes))
    return groups


def paths(entries: Iterable[FileEntry]) -> list[str]:
    """The sorted paths."""
    return sorted(one.path for one in entries)


@pytest.mark.parametrize("seed", range(60))
def test_every_file_is_in_exactly_one_layer_and_names_are_valid(seed: int) -> None:
    groups = random_groups(seed)
    at_most = random.Random(seed).randrange(1, 6)
    result = plan(groups, at_most=at_most)
    placed = [one for layer in result.layers for one in layer.entries]
    assert paths(placed) == paths(one for whole_group in groups for one in whole_group.entries)
    names = [layer.name for layer in result.layers]
    assert names == sorted(set(names))
    assert len(names) <= at_most
    assert all(VALID_NAME.fullmatch(name) for name in names)
    assert all(layer.entries for layer in result.layers)


@pytest.mark.parametrize("seed", range(60))
def test_zips_are_under_the_limit_or_remarked_on(seed: int) -> None:
    result = plan(random_groups(seed))
    over = [layer for layer in result.layers if layer.zipped > ZIP]
    remarks = sum("goes through S3" in note for note in result.notes)
    assert len(over) <= remarks
    if len(result.layers) < 5:
        # Where a layer is left, only a single file can be too large for one.
        assert all(len(layer.entries) == 1 for layer in over)


@pytest.mark.parametrize("seed", range(40))
def test_a_distribution_that_fits_one_zip_is_not_cut(seed: int) -> None:
    groups = random_groups(seed)
    result = plan(groups)
    for one in groups:
        if one.zipped < ZIP * 0.99:
            holders = [
                layer.name
                for layer in result.layers
                if any(file in layer.entries for file in one.entries)
            ]
            assert len(holders) == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_plan_does_not_depend_on_the_order_of_the_groups(seed: int) -> None:
    groups = random_groups(seed)
    mixed = random.Random(seed).sample(groups, len(groups))
    assert shown(plan(mixed)) == shown(plan(groups))


def test_entries_are_grouped_by_distribution() -> None:
    files = [
        entry("python/b/1", 3, "b"),
        entry("python/a/1", 1, "a"),
        entry("assets/m/1", 5, "asset:m"),
        entry("python/a/2", 2, "a"),
    ]
    groups = group(files, lambda one: one.size + 10)
    assert [(one.name, one.zipped, one.is_asset) for one in groups] == [
        ("a", 23, False),
        ("m", 15, True),
        ("b", 13, False),
    ]
    assert [one.path for one in groups[0].entries] == ["python/a/1", "python/a/2"]


def test_heavy_small_and_assets_have_layers_of_their_own() -> None:
    groups = [
        whole("numpy", 15_000),
        whole("scipy", 25_000),
        whole("six", 100),
        whole("idna", 200),
        whole("asset:model", 30_000),
    ]
    assert shown(plan(groups)) == {
        "r-idna": ["idna", "six"],
        "r-model": ["model"],
        "r-scipy": ["scipy", "numpy"],
    }


def test_with_fewer_layers_heavy_and_small_share_and_the_model_does_not() -> None:
    groups = [whole("scipy", 30_000), whole("six", 100), whole("asset:model", 30_000)]
    assert shown(plan(groups, at_most=2)) == {"r-model": ["model"], "r-scipy": ["scipy", "six"]}


def test_one_layer_takes_all() -> None:
    groups = [whole("scipy", 30_000), whole("six", 100), whole("asset:model", 30_000)]
    result = plan(groups, at_most=1)
    assert [len(layer.groups) for layer in result.layers] == [3]
    assert result.notes == (
        "the zip with model comes to 60,100 bytes, over the 50,000 of a direct upload: it goes "
        "through S3",
    )


def test_without_direct_upload_one_zip_of_any_size_will_do() -> None:
    result = plan([whole("a", 900_000), whole("b", 1)], zip_bytes=None)
    assert shown(result) == {"r-a": ["a", "b"]}
    assert result.notes == ()


def test_what_is_too_large_for_a_zip_is_cut_by_files() -> None:
    result = plan([whole("mxnet", 30_000, 25_000, 20_000, 100)])
    assert [(layer.name, layer.zipped) for layer in result.layers] == [
        ("r-mxnet", 30_100),
        ("r-mxnet-2", 45_000),
    ]


@pytest.mark.parametrize("zip_bytes", [10**6, None])
def test_more_files_than_a_zip_holds_are_cut(zip_bytes: int | None) -> None:
    result = plan([whole("icons", *[1] * 70_000)], zip_bytes=zip_bytes)
    assert [len(layer.entries) for layer in result.layers] == [65_534, 4_466]
    assert len({one.path for layer in result.layers for one in layer.entries}) == 70_000
    assert result.notes == ()


@pytest.mark.parametrize("zip_bytes", [ZIP, None])
def test_many_files_of_several_distributions_fill_no_zip(zip_bytes: int | None) -> None:
    groups = [whole(name, *[1] * 40) for name in "abcd"]
    result = plan(groups, zip_bytes=zip_bytes, zip_files=100)
    assert sorted(len(layer.entries) for layer in result.layers) == [80, 80]


@pytest.mark.parametrize("zip_bytes", [ZIP, None])
def test_files_are_spread_where_layers_are_few(zip_bytes: int | None) -> None:
    """By bytes alone all the small files would share the zip beside the large one."""
    groups = [whole("large", ZIP), *(whole(name, *[1] * 40) for name in "abcd")]
    result = plan(groups, zip_bytes=zip_bytes, zip_files=100, at_most=2)
    assert max(len(layer.entries) for layer in result.layers) <= 100


def test_a_single_file_that_is_too_large_is_remarked_on() -> None:
    result = plan([whole("mxnet", 80_000, 10)])
    assert "the zip with mxnet comes to 80,000 bytes" in result.notes[0]


def test_a_small_distribution_that_grows_leaves_the_heavy_layers() -> None:
    heavy = [whole("numpy", 15_000), whole("scipy", 25_000), whole("asset:model", 40_000)]
    for size in (100, 150, 1_000, 3_000, 6_000):
        result = plan([*heavy, whole("six", size), whole("idna", 200)])
        layers = {layer.name: layer.entries for layer in result.layers}
        assert layers["r-scipy"] == (*heavy[1].entries, *heavy[0].entries)
        assert layers["r-model"] == heavy[2].entries


def test_a_few_percent_more_reorder_nothing() -> None:
    before = [whole("a", 20_000), whole("b", 20_100), whole("c", 30_000)]
    after = [whole("a", 20_400), whole("b", 20_100), whole("c", 30_000)]
    assert shown(plan(before)) == shown(plan(after))


def test_layers_of_one_name_are_told_apart() -> None:
    # An asset called as a distribution is, and a distribution as another one's second part.
    groups = [whole("bert", 40_000), whole("asset:bert", 40_000)]
    assert sorted(shown(plan(groups))) == ["r-bert", "r-bert-2"]
    groups = [whole("mxnet", 30_000, 30_000), whole("mxnet-2", 30_000)]
    result = plan(groups)
    assert len({layer.name for layer in result.layers}) == len(result.layers) == 3


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([whole("scipy", 30_000)], {"r-scipy": ["scipy", "pager"]}),
        (
            [whole("scipy", 30_000), whole("six", 1_000)],
            {"r-scipy": ["scipy"], "r-six": ["six", "pager"]},
        ),
        (
            [whole("scipy", 49_450), whole("numpy", 40_000)],
            {"r-numpy": ["numpy", "pager"], "r-scipy": ["scipy"]},
        ),
        ([whole("scipy", 49_490)], {"r-pager": ["pager"], "r-scipy": ["scipy"]}),
        ([], {"r-pager": ["pager"]}),
    ],
    ids=["no other", "small ones", "where there is room", "no room", "nothing else"],
)
def test_what_may_lie_anywhere_gets_a_layer_of_its_own_only_for_want_of_room(
    others: list[Group], expected: dict[str, list[str]]
) -> None:
    assert shown(plan([*others, whole("pager", 90)], anywhere=["pager"])) == expected


@pytest.mark.parametrize("small", [[], [whole("six", 6_000), whole("idna", 6_100)]])
def test_what_may_lie_anywhere_stays_where_it_is_when_sizes_change_a_little(
    small: list[Group],
) -> None:
    def shown_with(*sizes: int) -> dict[str, list[str]]:
        heavy = [whole(f"h{n}", size) for n, size in enumerate(sizes)]
        return shown(plan([*heavy, *small, whole("pager", 90)], anywhere=["pager"]))

    before = shown_with(30_000, 29_900, 29_950)
    assert before == shown_with(29_900, 29_950, 30_000) == shown_with(29_950, 30_000, 29_900)
    assert "pager" in before["r-idna" if small else "r-h0"]


def test_beside_small_distributions_it_moves_no_heavy_one() -> None:
    heavy = [whole("scipy", 8_000)]
    small = [whole(f"s{n}", 5_000) for n in range(3)]
    result = shown(plan([*heavy, *small, whole("pager", 90)], anywhere=["pager"]))
    assert result == {"r-s0": ["s0", "s1", "s2", "pager"], "r-scipy": ["scipy"]}


@pytest.mark.parametrize("sizes", [(49_490, 49_480), (49_480, 49_490)])
def test_where_no_layer_has_room_it_goes_to_the_first(sizes: tuple[int, int]) -> None:
    groups = [whole(name, size) for name, size in zip("ab", sizes, strict=True)]
    result = plan([*groups, whole("pager", 90)], anywhere=["pager"], at_most=2)
    assert shown(result) == {"r-a": ["a", "pager"], "r-b": ["b"]}


def test_there_is_no_layer_for_nothing() -> None:
    assert plan([]) == LayerPlan(layers=(), notes=())
    assert plan([], zip_bytes=None) == LayerPlan(layers=(), notes=())


def test_no_layers_at_all_are_refused() -> None:
    with pytest.raises(LimitError):
        plan([whole("a", 1)], at_most=0)
