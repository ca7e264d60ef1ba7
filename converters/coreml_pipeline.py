"""A detector and Core ML's own non-maximum suppression in one model, which Vision reads as recognized objects.

The detector gives its own outputs and two more (see `coreml_boxes`); the suppression reads these two and gives
`confidence` (found, classes) and `coordinates` (found, 4): the pipeline's outputs, from which Vision makes a
`VNRecognizedObjectObservation` each. An app may set `iouThreshold` and `confidenceThreshold` from picture to picture.
Source: Core ML's NonMaximumSuppression.proto and Model.proto.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.task.picture_readers import SUPPRESSION_KEY

EVERY: Final = ("every_confidence", "every_coordinates")
"""Outputs of the detector that the suppression reads."""

KEPT: Final = ("confidence", "coordinates")
"""Outputs of the pipeline."""

THRESHOLDS: Final = ("iouThreshold", "confidenceThreshold")
"""Optional inputs of the pipeline."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """How Core ML chooses among the boxes of a detector.

    Attributes:
        labels: One a class.
        iou: Overlap above which a box of the same class with a lower score goes; 1 where none does.
        score: Boxes below it do not count.
    """

    labels: tuple[str, ...]
    iou: float
    score: float

    def to_metadata(self) -> dict[str, str]:
        """Returns the metadata entry of a package."""
        return {SUPPRESSION_KEY: json.dumps({"iou": self.iou, "score": self.score})}


def in_pipeline(detector: Any, suppression: Suppression) -> Any:
    """Returns the specification of the pipeline; its metadata are the detector's, which has none afterwards.

    Args:
        detector: Specification of a detector with the outputs `EVERY`, changed in place.
        suppression: How its boxes are chosen.
    """
    kind = type(detector)
    last, whole = kind(), kind()
    last.specificationVersion = whole.specificationVersion = detector.specificationVersion
    widths = (len(suppression.labels), 4)
    given = {item.name: item for item in detector.description.output}
    for name in EVERY:
        last.description.input.add().CopyFrom(given[name])
    for name, width in zip(KEPT, widths, strict=True):
        _array(last.description.output.add(), name, width)
    for name in THRESHOLDS:
        _number(last.description.input.add(), name)
    _describe_choice(last.nonMaximumSuppression, suppression)
    whole.description.metadata.CopyFrom(detector.description.metadata)
    detector.description.ClearField("metadata")
    for item in detector.description.input:
        whole.description.input.add().CopyFrom(item)
    for name in THRESHOLDS:
        _number(whole.description.input.add(), name)
    for item in last.description.output:
        whole.description.output.add().CopyFrom(item)
    whole.pipeline.models.extend([detector, last])
    whole.pipeline.names.extend(["Detector", "Suppression"])
    return whole


def _describe_choice(message: Any, suppression: Suppression) -> None:
    message.confidenceInputFeatureName, message.coordinatesInputFeatureName = EVERY
    message.confidenceOutputFeatureName, message.coordinatesOutputFeatureName = KEPT
    message.iouThresholdInputFeatureName, message.confidenceThresholdInputFeatureName = THRESHOLDS
    message.iouThreshold, message.confidenceThreshold = suppression.iou, suppression.score
    message.pickTop.perClass = True
    message.stringClassLabels.vector.extend(suppression.labels)


def _array(feature: Any, name: str, width: int) -> None:
    """Describes an array of floats with a row a box, of any number."""
    feature.name = name
    array = feature.type.multiArrayType
    array.dataType = array.FLOAT32
    for low, high in ((0, -1), (width, width)):
        sizes = array.shapeRange.sizeRanges.add()
        sizes.lowerBound, sizes.upperBound = low, high


def _number(feature: Any, name: str) -> None:
    feature.name = name
    feature.type.isOptional = True
    feature.type.doubleType.SetInParent()
