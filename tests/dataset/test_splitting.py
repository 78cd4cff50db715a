from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.dataset.index import DecodedPictures, IndexedSample
from edgeleather.dataset.reading import Sample, read_dataset
from edgeleather.dataset.splitting import leave_out_copies, split_good, split_test
from edgeleather.errors import EdgeLeatherError
from tests.conftest import REAL_DATA


def samples(groups, defect_class="good"):
    return [
        Sample(Path(f"{g}-{i}"), f"{defect_class}/{g}-{i}", defect_class, f"{defect_class}{g}")
        for g, size in enumerate(groups)
        for i in range(size)
    ]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(0, 1000))
def test_good_splits_share_no_photograph_and_lose_no_picture(groups, seed):
    pictures = samples(groups)
    if len(pictures) < 3:
        with pytest.raises(EdgeLeatherError, match="at least 3"):
            split_good(pictures, seed)
        return
    split = split_good(pictures, seed)
    parts = (split.training, split.validation, split.threshold)
    assert sorted(s.name for part in parts for s in part) == sorted(s.name for s in pictures)
    assert all(parts)
    if split.by == "group":
        owners = [{s.group for s in part} for part in parts]
        assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
    else:
        assert len(groups) < 3


def test_many_small_groups_come_near_to_70_15_15():
    split = split_good(samples([1] * 200), seed=0)
    assert [len(part) for part in (split.training, split.validation, split.threshold)] == [140, 30, 30]


def test_the_seed_decides():
    pictures = samples([3] * 20)
    assert split_good(pictures, 1) == split_good(pictures, 1)
    assert split_good(pictures, 1) != split_good(pictures, 2)


@given(st.lists(st.integers(1, 16), min_size=2, max_size=12), st.lists(st.integers(1, 8), min_size=2, max_size=12))
def test_the_test_split_keeps_photographs_whole_and_both_kinds_on_both_sides(good, bad):
    pictures = samples(good) + samples(bad, "cut")
    picked = split_test(pictures, seed=0)
    rest = {s.group for s in pictures} - {s.group for s in picked}
    assert {s.group for s in picked}.isdisjoint({s.group for s in pictures if s not in picked})
    assert {s.is_good for s in picked} == {True, False}
    assert {g.startswith("good") for g in rest} == {True, False}


def test_a_test_set_without_good_pictures_fits_nothing():
    assert split_test(samples([1] * 20, "cut"), seed=0) == ()


@pytest.mark.real_data
def test_every_class_of_the_real_test_set_gives_about_15_percent():
    dataset = read_dataset(REAL_DATA / "neadvance_tiles", needs="test")
    total = Counter(s.defect_class for s in dataset.test)
    picked = Counter(s.defect_class for s in split_test(dataset.test, seed=0))
    for name, count in total.items():
        assert 1 <= picked[name] <= 0.15 * count + 4


def test_copies_are_left_out_and_their_photographs_are_one():
    digests = [str(index) for index in range(10)]
    digests[0] = digests[3] = digests[9] = "copy"
    nothing = DecodedPictures(0)
    pictures = [
        IndexedSample(**vars(sample), digest=digest, size_hw=(1, 1), decoded=nothing)
        for sample, digest in zip(samples([2, 2, 2, 2, 2]), digests, strict=True)
    ]
    different = leave_out_copies(pictures)
    assert sorted(s.name for s in different) == [s.name for index, s in enumerate(pictures) if index not in (3, 9)]
    by_name = {s.name: s.group for s in different}
    assert by_name[pictures[0].name] == by_name[pictures[2].name] == by_name[pictures[8].name]
    assert len(set(by_name.values())) == 3
