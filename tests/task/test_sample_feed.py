"""Rows that are read anew: the same as the first time, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import samples as samples_module
from edgekit.errors import DataError
from edgekit.model import TensorSpec
from edgekit.samples import Samples
from edgekit.task.data import DataRequest, materialize
from edgekit.task.image_input import ImageInput
from edgekit.task.sample_feed import FeedRequest, SampleSource, as_fed, as_values, feed, part_name, reopened
from edgekit.task.task import ImagePreprocessing
from edgekit.workers.worker import silent

SPECS = (TensorSpec(name="x", shape=(1, 4), dtype="float32"),)
ROWS = 10

USER_CODE = """
from pathlib import Path

import numpy as np

def rows():
    seed, count = map(int, Path(__file__).with_name("facts.txt").read_text().split())
    return np.random.default_rng(seed).standard_normal((count, 1, 4)).astype(np.float32)

def as_list():
    return [((row,), [i % 3], "even" if i % 2 == 0 else "odd") for i, row in enumerate(rows())]

def as_generator():
    yield from as_list()

def in_batches():
    for start in range(0, {rows}, 2):
        yield (rows()[start:start + 2, 0],), [0, 1]
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "_PART_BYTES", 3 * 16)


def request_for(tmp_path: Path, name: str, most_bytes: int | None) -> DataRequest:
    (tmp_path / "data.py").write_text(USER_CODE.replace("{rows}", str(ROWS)))
    (tmp_path / "facts.txt").write_text(f"0 {ROWS}")
    folder = tmp_path / f"{name}-{most_bytes}"
    return DataRequest(
        reference=f"data.py:{name}",
        base=tmp_path,
        purpose="evaluation",
        inputs=SPECS,
        metric="top1",
        preprocessing=ImagePreprocessing(),
        folder=folder,
        most_bytes=most_bytes,
    )


def read(request: DataRequest) -> Samples:
    materialize(request, silent)
    return reopened(Path(request.folder), SampleSource(data=request))


def fed_rows(samples: Samples, folder: Path, parts: tuple[int, ...]) -> np.ndarray[Any, Any]:
    folder.mkdir()
    feed(FeedRequest(source=SampleSource.of(samples), samples=samples, parts=parts, folder=folder, waiting=99), silent)
    return np.concatenate([Samples.open(folder / part_name(part)).arrays()[0] for part in parts])


@pytest.mark.parametrize("name", ["as_list", "as_generator", "in_batches"])
def test_all_but_the_rows_is_what_a_set_on_disk_has(tmp_path: Path, name: str) -> None:
    whole, parts = (read(request_for(tmp_path, name, most)) for most in (None, 40))
    assert (parts.count, parts.items, parts.names, parts.sha256) == (
        whole.count,
        whole.items,
        whole.names,
        whole.sha256,
    )
    assert parts.key_facts() == whole.key_facts()
    assert parts.shapes() == whole.shapes()
    assert list(parts.marks()) == list(whole.marks())
    np.testing.assert_array_equal(parts.targets(), whole.targets())
    assert parts.slices() == whole.slices()
    assert (whole.part_rows, parts.part_rows) == (0, 3)
    assert parts.indexed == (name == "as_list")
    np.testing.assert_array_equal(parts.kept.arrays()[0], whole.arrays()[0][[0, 4, 8]])
    assert sorted(path.name for path in parts.folder.glob("*.npy")) == ["marks.npy", "targets.npy"]


@pytest.mark.parametrize("size", [15, 16, 160, 161], ids=str)
def test_a_set_within_the_limit_lies_on_disk(tmp_path: Path, size: int) -> None:
    assert bool(read(request_for(tmp_path, "as_list", size)).part_rows) == (size < 160)


@pytest.mark.parametrize("name", ["as_list", "as_generator", "in_batches"])
@pytest.mark.parametrize("parts", [(0, 1, 2, 3), (1, 3), (3,)], ids=str)
def test_parts_hold_the_rows_of_the_first_reading(tmp_path: Path, name: str, parts: tuple[int, ...]) -> None:
    whole, streamed = (read(request_for(tmp_path, name, most)) for most in (None, 40))
    expected = np.concatenate([whole.arrays()[0][part * 3 : part * 3 + 3] for part in parts])
    np.testing.assert_array_equal(fed_rows(streamed, tmp_path / "feed", parts), expected)


def test_no_more_parts_lie_there_than_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = read(request_for(tmp_path, "as_list", 40))
    folder, seen = tmp_path / "feed", []
    folder.mkdir()

    def take_one(_seconds: float) -> None:
        there = sorted(folder.glob("part-*"))
        seen.append(len(there))
        shutil.rmtree(there[0])

    monkeypatch.setattr("time.sleep", take_one)
    request = FeedRequest(
        source=SampleSource.of(samples), samples=samples, parts=(0, 1, 2, 3), folder=folder, waiting=2
    )
    assert feed(request, silent).rows == ROWS
    assert seen == [2, 2]


@pytest.mark.parametrize(
    ("facts", "how"),
    [("1 10", "row 0 is another one"), ("0 5", "it has fewer rows")],
    ids=["values", "count"],
)
@pytest.mark.parametrize("name", ["as_list", "as_generator"])
def test_data_that_has_changed_since_is_refused(tmp_path: Path, name: str, facts: str, how: str) -> None:
    samples = read(request_for(tmp_path, name, 40))
    (tmp_path / "facts.txt").write_text(facts)
    with pytest.raises(DataError) as caught:
        fed_rows(samples, tmp_path / "feed", (0, 1, 2, 3))
    assert re.fullmatch(
        rf"The evaluation data data\.py:{name} is not what it was when it was read the first time: {how}\. Data of "
        r"this size is read anew for each model that runs on it, so it must give the same rows each time: seed its "
        r"random numbers and sort its files, or keep the rows on disk with a larger EDGEKIT_DATA_SIZE\.",
        caught.value.message,
    )


def pictures(tmp_path: Path, most_bytes: int | None) -> tuple[Samples, ImageInput]:
    from PIL import Image

    folder = tmp_path / "pictures"
    for kind in ("a", "b"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (9, 11, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    spec = TensorSpec(name="image", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW")
    steps = ImagePreprocessing(mean=(127.0,), std=(128.0,))
    request = DataRequest(
        reference="pictures",
        base=tmp_path,
        purpose="evaluation",
        inputs=(spec,),
        metric="top1",
        preprocessing=steps,
        folder=tmp_path / f"samples-{most_bytes}",
        most_bytes=most_bytes,
    )
    return read(request), ImageInput(spec=spec, steps=steps)


@pytest.mark.parametrize("change", ["values", "pixels"])
def test_pictures_are_changed_as_those_on_disk_are(tmp_path: Path, change: str) -> None:
    def changed(samples: Samples, image: ImageInput, folder: Path) -> Samples:
        whole = as_values(samples, image, folder / "values")
        return whole if change == "values" else as_fed(whole, image, "NHWC", folder / "pixels")

    whole = changed(*pictures(tmp_path, None), tmp_path / "whole")
    streamed = changed(*pictures(tmp_path, 300), tmp_path / "streamed")
    assert streamed.part_rows == 1
    assert streamed.shapes() == whole.shapes()
    np.testing.assert_array_equal(streamed.targets(), whole.targets())
    np.testing.assert_array_equal(fed_rows(streamed, tmp_path / "feed", tuple(range(6))), whole.arrays()[0])
