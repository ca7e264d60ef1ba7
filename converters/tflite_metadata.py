"""TFLite Metadata: what MediaPipe Tasks and ML Kit read of a file whose input is pixels.

The public schema is `metadata_schema.fbs` of TFLite Support (file identifier M001); no package of today's Python ships
its generated code alone, so the few tables that are needed are written by field number. Labels lie in a ZIP archive
behind the flatbuffer, as the readers expect it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Final, cast

from edgekit.analysis.tflite_protocols import TFLiteBuffer, TFLiteMetadata, TFLiteModel
from edgekit.converters.flatbuffer_tables import TableWriter, byte, number, offset
from edgekit.converters.tflite_file import text
from edgekit.converters.tflite_tasks import ClientOutputs
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

METADATA_NAME: Final = "TFLITE_METADATA"
LABELS_FILE: Final = "labels.txt"
CALIBRATION_FILE: Final = "score_calibration.txt"

_IDENTIFIER: Final = b"M001"
_PARSER: Final = "1.0.0"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a ZIP archive holds: the same request gives the same bytes."""

_IMAGE_PROPERTIES: Final = 2  # of the union ContentProperties
_FEATURE_PROPERTIES: Final = 1
_NORMALIZATION: Final = 1  # of the union ProcessUnitOptions
_CALIBRATION: Final = 2
_RGB: Final = 1  # of ColorSpaceType
_GRAY: Final = 2
_AXIS_LABELS: Final = 2  # of AssociatedFileType
_VALUE_LABELS: Final = 3
_AXIS_CALIBRATION: Final = 4
_BOX_PROPERTIES: Final = 3  # of the union ContentProperties
_BOUNDARIES: Final = 1  # of BoundingBoxType
_ROWS_FIRST: Final = (1, 0, 3, 2)
"""Where a finished box has left, top, right and bottom: boxes are top, left, bottom, right."""


def describe_pixels(
    model: TFLiteModel,
    image: ImageInput,
    inputs: Sequence[TensorSpec],
    outputs: ClientOutputs,
    name: str,
) -> None:
    """Adds the metadata to a model: what its picture is, and how its outputs are read.

    Args:
        model: ModelT; changed in place.
        image: The input that takes pixels.
        inputs: The file's inputs.
        outputs: How the file's outputs are read.
        name: The model's.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    data = _metadata(image, inputs, outputs, name)
    buffer = cast("TFLiteBuffer", schema.BufferT())
    buffer.data = np.frombuffer(data, dtype=np.uint8)
    model.buffers.append(buffer)
    entry = cast("TFLiteMetadata", schema.MetadataT())
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers) - 1
    model.metadata = [*(old for old in model.metadata or () if text(old.name) != METADATA_NAME), entry]


def with_files(content: bytes, image: ImageInput, outputs: ClientOutputs) -> bytes:
    """Returns a file with its labels and their calibration behind the flatbuffer."""
    files = {LABELS_FILE: "\n".join(image.labels) + "\n"} if outputs.labelled is not None else {}
    if outputs.scored is not None:
        files[CALIBRATION_FILE] = image.score_calibration  # MediaPipe counts what follows the last line end as a line
    if not files:
        return content
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, lines in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), lines)
    return whole.getvalue()


def _metadata(image: ImageInput, inputs: Sequence[TensorSpec], outputs: ClientOutputs, name: str) -> bytes:
    writer = TableWriter()
    taken = [
        _picture(writer, spec.name, image) if image.is_pixels(spec) else _tensor(writer, spec.name) for spec in inputs
    ]
    kind = _VALUE_LABELS if outputs.by_value else _AXIS_LABELS
    given = [
        _tensor(
            writer,
            title,
            labels=kind if i == outputs.labelled else None,
            boxes=i == outputs.boxes,
            scored=i == outputs.scored,
        )
        for i, title in enumerate(outputs.names)
    ]
    fields = [offset(2, writer.tables(taken)), offset(3, writer.tables(given))]
    if outputs.custom:
        fields.append(offset(9, writer.tables([_custom(writer, *outputs.custom)])))
    graphs = writer.tables([writer.table(10, *fields)])
    title, parser = writer.text(name), writer.text(_PARSER)
    return writer.finish(writer.table(8, offset(0, title), offset(7, parser), offset(3, graphs)), _IDENTIFIER)


def _picture(writer: TableWriter, name: str, image: ImageInput) -> int:
    """Writes a TensorMetadata about pixels as they are: what becomes of them lies in the graph."""
    width, height = image.size
    color = _RGB if image.channels > 1 else _GRAY
    size = writer.table(2, number(0, width), number(1, height))
    content = _content(writer, _IMAGE_PROPERTIES, writer.table(2, byte(0, color), offset(1, size)))
    means, stds = writer.floats([0.0] * image.channels), writer.floats([1.0] * image.channels)
    options = writer.table(2, offset(0, means), offset(1, stds))
    units = writer.tables([writer.table(2, byte(0, _NORMALIZATION), offset(1, options))])
    highest, lowest = writer.floats([255.0] * image.channels), writer.floats([0.0] * image.channels)
    stats = writer.table(2, offset(0, highest), offset(1, lowest))
    return writer.table(7, offset(0, writer.text(name)), offset(3, content), offset(4, units), offset(5, stats))


def _tensor(
    writer: TableWriter, title: str, *, labels: int | None = None, boxes: bool = False, scored: bool = False
) -> int:
    """Writes a TensorMetadata.

    Args:
        writer: Of the metadata.
        title: What the tensor is called.
        labels: How the labels name its entries, of AssociatedFileType; None where they do not.
        boxes: It holds boxes.
        scored: It holds scores that are calibrated.
    """
    if boxes:
        order = writer.numbers(_ROWS_FIRST)
        content = _content(writer, _BOX_PROPERTIES, writer.table(3, offset(0, order), byte(1, _BOUNDARIES)))
    else:
        content = _content(writer, _FEATURE_PROPERTIES, writer.table(0))
    fields = [offset(0, writer.text(title)), offset(3, content)]
    files: list[int] = []
    if labels is not None:
        files.append(writer.table(5, offset(0, writer.text(LABELS_FILE)), byte(2, labels)))
    if scored:
        files.append(writer.table(5, offset(0, writer.text(CALIBRATION_FILE)), byte(2, _AXIS_CALIBRATION)))
        unit = writer.table(2, byte(0, _CALIBRATION), offset(1, writer.table(2)))
        fields.append(offset(4, writer.tables([unit])))
    if files:
        fields.append(offset(6, writer.tables(files)))
    return writer.table(7, *fields)


def _custom(writer: TableWriter, name: str, data: bytes) -> int:
    """Writes a CustomMetadata."""
    title, content = writer.text(name), writer.content(data)
    return writer.table(2, offset(0, title), offset(1, content))


def _content(writer: TableWriter, kind: int, properties: int) -> int:
    return writer.table(3, byte(0, kind), offset(1, properties))
