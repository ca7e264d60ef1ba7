"""TFLite Metadata: what MediaPipe Tasks and ML Kit read of a file whose input is pixels.

The public schema is `metadata_schema.fbs` of TFLite Support (file identifier M001); no package of today's Python ships
its generated code alone, so the few tables that are needed are written by field number. Labels lie in a ZIP archive
behind the flatbuffer, as the readers expect it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, cast

from edgekit.analysis.tflite_protocols import TFLiteBuffer, TFLiteMetadata, TFLiteModel
from edgekit.converters.tflite_file import text
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

METADATA_NAME: Final = "TFLITE_METADATA"
LABELS_FILE: Final = "labels.txt"

_IDENTIFIER: Final = b"M001"
_PARSER: Final = "1.0.0"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a ZIP archive holds: the same request gives the same bytes."""

_IMAGE_PROPERTIES: Final = 2  # of the union ContentProperties
_FEATURE_PROPERTIES: Final = 1
_NORMALIZATION: Final = 1  # of the union ProcessUnitOptions
_RGB: Final = 1  # of ColorSpaceType
_GRAY: Final = 2
_AXIS_LABELS: Final = 2  # of AssociatedFileType


class _Builder(Protocol):
    """What is used of `flatbuffers.Builder`, which ships no types."""

    def CreateString(self, text: str, /) -> int: ...  # noqa: N802  the library's names
    def StartObject(self, fields: int, /) -> None: ...  # noqa: N802
    def EndObject(self) -> int: ...  # noqa: N802
    def StartVector(self, size: int, count: int, alignment: int, /) -> int: ...  # noqa: N802
    def EndVector(self) -> int: ...  # noqa: N802
    def PrependUOffsetTRelativeSlot(self, field: int, place: int, default: int, /) -> None: ...  # noqa: N802
    def PrependUint8Slot(self, field: int, value: int, default: int, /) -> None: ...  # noqa: N802
    def PrependUint32Slot(self, field: int, value: int, default: int, /) -> None: ...  # noqa: N802
    def PrependFloat32(self, value: float, /) -> None: ...  # noqa: N802
    def PrependUOffsetTRelative(self, place: int, /) -> None: ...  # noqa: N802
    def Finish(self, place: int, /, file_identifier: bytes) -> int: ...  # noqa: N802
    def Output(self) -> bytearray: ...  # noqa: N802


Field = Callable[[_Builder], None]


def describe_pixels(
    model: TFLiteModel,
    image: ImageInput,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    name: str,
) -> None:
    """Adds the metadata to a model: what its picture is, and which output the labels name.

    Args:
        model: ModelT; changed in place.
        image: The input that takes pixels.
        inputs: The file's inputs.
        outputs: The file's outputs.
        labels: One for each entry of the output that they name; empty where there are none.
        name: The model's.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    data = _metadata(image, inputs, outputs, labels, name)
    buffer = cast("TFLiteBuffer", schema.BufferT())
    buffer.data = np.frombuffer(data, dtype=np.uint8)
    model.buffers.append(buffer)
    entry = cast("TFLiteMetadata", schema.MetadataT())
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers) - 1
    model.metadata = [*(old for old in model.metadata or () if text(old.name) != METADATA_NAME), entry]


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """Returns a file with its labels behind the flatbuffer."""
    if not labels:
        return content
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _EPOCH), "\n".join(labels) + "\n")
    return whole.getvalue()


def labelled_output(outputs: Sequence[TensorSpec], labels: Sequence[str]) -> int | None:
    """Returns the place of the output whose last axis has one entry a label, None where there is none."""
    return next((i for i, spec in enumerate(outputs) if labels and spec.shape[-1:] == (len(labels),)), None)


def _metadata(
    image: ImageInput,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    name: str,
) -> bytes:
    import flatbuffers  # type: ignore[import-untyped]  # it ships no types

    builder: _Builder = flatbuffers.Builder(1024)
    labelled = labelled_output(outputs, labels)
    taken = [
        _picture(builder, spec.name, image) if image.is_pixels(spec) else _tensor(builder, spec) for spec in inputs
    ]
    given = [_tensor(builder, spec, labels=i == labelled) for i, spec in enumerate(outputs)]
    vectors = {2: _tables(builder, taken), 3: _tables(builder, given)}
    graph = _table(builder, 10, {field: _offset(field, place) for field, place in vectors.items()})
    graphs = _tables(builder, [graph])
    titles = {0: builder.CreateString(name), 7: builder.CreateString(_PARSER)}
    fields = {field: _offset(field, place) for field, place in {**titles, 3: graphs}.items()}
    builder.Finish(_table(builder, 8, fields), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _picture(builder: _Builder, name: str, image: ImageInput) -> int:
    """Writes a TensorMetadata about pixels as they are: what becomes of them lies in the graph."""
    width, height = image.size
    color = _RGB if image.channels > 1 else _GRAY
    size = _table(builder, 2, {0: _number(0, width), 1: _number(1, height)})
    properties = _table(builder, 2, {0: _byte(0, color), 1: _offset(1, size)})
    content = _content(builder, _IMAGE_PROPERTIES, properties)
    means = _floats(builder, [0.0] * image.channels)
    stds = _floats(builder, [1.0] * image.channels)
    options = _table(builder, 2, {0: _offset(0, means), 1: _offset(1, stds)})
    unit = _table(builder, 2, {0: _byte(0, _NORMALIZATION), 1: _offset(1, options)})
    units = _tables(builder, [unit])
    highest, lowest = _floats(builder, [255.0] * image.channels), _floats(builder, [0.0] * image.channels)
    stats = _table(builder, 2, {0: _offset(0, highest), 1: _offset(1, lowest)})
    places = {0: builder.CreateString(name), 3: content, 4: units, 5: stats}
    return _table(builder, 7, {field: _offset(field, place) for field, place in places.items()})


def _tensor(builder: _Builder, spec: TensorSpec, *, labels: bool = False) -> int:
    content = _content(builder, _FEATURE_PROPERTIES, _table(builder, 0, {}))
    places = {0: builder.CreateString(spec.name), 3: content}
    if labels:
        name = builder.CreateString(LABELS_FILE)
        file = _table(builder, 5, {0: _offset(0, name), 2: _byte(2, _AXIS_LABELS)})
        places[6] = _tables(builder, [file])
    return _table(builder, 7, {field: _offset(field, place) for field, place in places.items()})


def _content(builder: _Builder, kind: int, properties: int) -> int:
    return _table(builder, 3, {0: _byte(0, kind), 1: _offset(1, properties)})


def _table(builder: _Builder, fields: int, values: Mapping[int, Field]) -> int:
    """Writes a table of so many fields and returns where."""
    builder.StartObject(fields)
    for write in values.values():
        write(builder)
    return builder.EndObject()


def _offset(field: int, place: int) -> Field:
    return lambda builder: builder.PrependUOffsetTRelativeSlot(field, place, 0)


def _byte(field: int, value: int) -> Field:
    return lambda builder: builder.PrependUint8Slot(field, value, 0)


def _number(field: int, value: int) -> Field:
    return lambda builder: builder.PrependUint32Slot(field, value, 0)


def _floats(builder: _Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _tables(builder: _Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()
