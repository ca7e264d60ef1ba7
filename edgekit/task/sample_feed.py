"""Rows that are read anew for a run: parts of a data set too large to lie on disk, each there until it was used.

The rows of such a set come from the user's data a second time, in a worker process that writes parts into a folder as
fast as a runner takes them away. Each row is held against the mark that the first reading left.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.files.npy_file import load_rows
from edgekit.samples import KEPT_NAME, MARKS_NAME, SAMPLES_NAME, Samples, SampleWriter, row_mark
from edgekit.task.data import DataRequest, Indexed, open_items, split_item
from edgekit.task.image_input import IMAGE_INPUT_KEY, ImageInput, as_pixels, embedded_image_input, snapped
from edgekit.task.item_inputs import item_calls
from edgekit.workers.request_key import Place
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Row = tuple[NDArray[Any], ...]

_PAUSE_S: Final = 0.005


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStep:
    """A change of the rows' picture after it was read.

    Attributes:
        image: The input, as artifacts embed it.
        layout: NHWC or NCHW makes pixels of it; "" makes values of whole pixels.
    """

    image: str
    layout: str = ""

    def changed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns the picture (1, ...) of a row after the step."""
        image = embedded_image_input({IMAGE_INPUT_KEY: self.image})
        if image is None:
            raise DataError(f"The image input {self.image} cannot be read.")
        return image.pixels(values, self.layout) if self.layout else image.values(image.pixels(values))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """Where rows are read from again, and what becomes of them.

    Attributes:
        data: As they were read the first time.
        steps: Changes of the picture, in order.
    """

    data: DataRequest
    steps: tuple[PictureStep, ...] = ()

    def to_text(self) -> str:
        """Returns the text that `Samples.source` holds."""
        return json.dumps(unstructure(self))

    def then(self, step: PictureStep) -> SampleSource:
        """Returns the source with one more change."""
        return replace(self, steps=(*self.steps, step))

    @staticmethod
    def of(samples: Samples) -> SampleSource:
        """Returns the source of samples whose rows are read anew."""
        return structure(json.loads(samples.source), SampleSource, "source of samples")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRequest:
    """Which parts of a data set to read anew, and where to.

    Attributes:
        source: Where from.
        samples: What the first reading left: the folder of a set whose rows are not kept.
        parts: Numbers of the parts, rising.
        folder: Each part becomes a sample folder `part-000007` here.
        waiting: At most so many parts lie there at a time.
    """

    source: SampleSource
    samples: Samples
    parts: tuple[int, ...]
    folder: Place
    waiting: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What a feed has done.

    Attributes:
        rows: How many rows it wrote.
    """

    rows: int


def part_name(number: int) -> str:
    """Returns the name of a part's folder."""
    return f"part-{number:06}"


def feed(request: FeedRequest, progress: Progress) -> Fed:
    """Writes parts of a data set, one after the other: the entry of a worker process.

    Raises:
        DataError: the data has other rows than when it was read the first time.
    """
    del progress  # whoever runs the rows tells how far they are
    samples, written = request.samples, 0
    column = _picture_column(request)
    rows = _wanted_rows(request)
    for number in request.parts:
        _wait(request)
        partial = request.folder / f"{part_name(number)}.partial"
        count = min(samples.part_rows, samples.count - number * samples.part_rows)
        with SampleWriter(partial, samples.names, hashed=False) as writer:
            for _ in range(count):
                row = list(next(rows))
                for step in request.source.steps:
                    row[column] = step.changed(row[column])
                writer.add(tuple(row))
        partial.rename(request.folder / part_name(number))
        written += count
    return Fed(rows=written)


FEED: Final = Job(work=feed)


def _wait(request: FeedRequest) -> None:
    """Waits until there is room for a part: whoever has used one takes it away."""
    while len(list(request.folder.glob("part-*"))) >= request.waiting:
        time.sleep(_PAUSE_S)


def _picture_column(request: FeedRequest) -> int:
    names = [spec.name for spec in request.source.data.inputs]
    for step in request.source.steps:
        image = embedded_image_input({IMAGE_INPUT_KEY: step.image})
        return names.index(image.spec.name) if image is not None and image.spec.name in names else 0
    return 0


def _wanted_rows(request: FeedRequest) -> Iterator[Row]:
    """Yields the rows of the wanted parts, in order, each held against its mark.

    Raises:
        DataError: one has another mark, or there are fewer rows than there were.
    """
    samples, title = request.samples, request.source.data.reference
    marks = load_rows(samples.folder / MARKS_NAME, samples.count)
    for number, row in _numbered_rows(request, title):
        if number >= samples.count or row_mark(row) != int(marks[number]):
            raise _changed(title, f"row {number} is another one")
        yield row
    raise _changed(title, "it has fewer rows")


def _numbered_rows(request: FeedRequest, title: str) -> Iterator[tuple[int, Row]]:
    """Yields the number of a row and the row, of the wanted parts."""
    size, specs = request.samples.part_rows, request.source.data.inputs
    items: Any = open_items(request.source.data)
    if request.samples.indexed and isinstance(items, Indexed):
        wanted = (i for part in request.parts for i in range(part * size, (part + 1) * size) if i < len(items))
        for i in wanted:
            yield i, _calls(items[i], specs, title, i)[0]
        return
    row, parts = 0, set(request.parts)
    for index, item in enumerate(items):
        for call in _calls(item, specs, title, index):
            if row // size in parts:
                yield row, call
            row += 1


def _calls(item: Any, specs: Sequence[Any], title: str, index: int) -> list[Row]:
    inputs, _, _ = split_item(item, "evaluation", title, index)
    return item_calls(inputs, specs, f"evaluation data {title}, item {index}")


def _changed(title: str, how: str) -> DataError:
    return DataError(
        f"The evaluation data {title} is not what it was when it was read the first time: {how}. Data of this size is "
        "read anew for each model that runs on it, so it must give the same rows each time: seed its random numbers "
        "and sort its files, or keep the rows on disk with a larger EDGEKIT_DATA_SIZE."
    )


def as_values(samples: Samples, image: ImageInput, folder: Path) -> Samples:
    """Returns samples whose pictures are whole pixels, so that the float model sees what the artifact sees.

    Raises:
        DataError: the rows were not made of pixels.
    """
    if not samples.part_rows:
        return snapped(samples, image, folder)
    snapped(samples.kept, image, folder / KEPT_NAME)
    return _changed_later(samples, PictureStep(image=image.to_text()), folder)


def as_fed(samples: Samples, image: ImageInput, layout: str, folder: Path) -> Samples:
    """Returns samples of the float model as those of an artifact that takes pixels; as they are where they are bytes.

    Raises:
        DataError: the rows were not made of pixels.
    """
    if not samples.part_rows:
        return as_pixels(samples, image, layout, folder)
    kept = samples.kept
    if as_pixels(kept, image, layout, folder / KEPT_NAME) is kept:
        return samples
    return _changed_later(samples, PictureStep(image=image.to_text(), layout=layout), folder)


def reopened(folder: Path, source: SampleSource) -> Samples:
    """Returns the samples in `folder`; they are read from `source` where their rows do not lie there."""
    samples = Samples.open(folder)
    return replace(samples, source=source.to_text()) if samples.part_rows else samples


def _changed_later(samples: Samples, step: PictureStep, folder: Path) -> Samples:
    """Writes all of a changed set but its kept rows, which lie in `folder` already, and returns it."""
    for name in (MARKS_NAME, "targets.npy", "items.npy", "slices.json"):
        if (samples.folder / name).exists():
            shutil.copyfile(samples.folder / name, folder / name)
    made_of = hashlib.sha256(json.dumps([samples.sha256, unstructure(step)]).encode()).hexdigest()
    facts = {**json.loads((samples.folder / SAMPLES_NAME).read_text()), "sha256": made_of}
    (folder / SAMPLES_NAME).write_text(json.dumps(facts))
    return reopened(folder, SampleSource.of(samples).then(step))
