"""What an artifact says about itself: labels, preprocessing and where it comes from, read back from its metadata.

The keys are the same in every format; a file that edgekit did not make may have some of them, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from edgekit.errors import InputError
from edgekit.files.bounded_reading import parse_json
from edgekit.task.task import ImagePreprocessing

LABELS_KEY: Final = "labels"
"""One label a line. Without edgekit's prefix: other tools use this name too."""

PREPROCESSING_KEY: Final = "edgekit.preprocessing"
"""JSON: resize, mean, std, color."""

CALIBRATION_KEY: Final = "edgekit.calibration"
"""SHA-256 of the calibration samples that gave the ranges."""

_PROVENANCE: Final = ("version", "source", "model", "digest", "precision", "techniques", "calibration")
_SHOWN_DIGITS: Final = 12
_SHOWN_LABELS: Final = 3


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What an artifact carries.

    Attributes:
        labels: In the order of the output's entries; empty without.
        preprocessing: How pictures become its input; None where it does not say.
        provenance: Those that are there of version (of edgekit), source, model, digest, precision, techniques and
            calibration.
    """

    labels: tuple[str, ...] = ()
    preprocessing: ImagePreprocessing | None = None
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json() if self.preprocessing else None,
            "provenance": dict(self.provenance),
        }


def read_embedded(metadata: Mapping[str, str]) -> Embedded:
    """Returns what the metadata of an artifact says; what cannot be read counts as not there."""
    return Embedded(
        labels=tuple(metadata.get(LABELS_KEY, "").splitlines()),
        preprocessing=_read_preprocessing(metadata.get(PREPROCESSING_KEY)),
        provenance={key: metadata[f"edgekit.{key}"] for key in _PROVENANCE if f"edgekit.{key}" in metadata},
    )


def _read_preprocessing(text: str | None) -> ImagePreprocessing | None:
    if text is None:
        return None
    try:
        return ImagePreprocessing.from_json(parse_json(text, PREPROCESSING_KEY))
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return None  # somebody else's entry of that name


def origin_line(embedded: Embedded) -> str:
    """Returns one sentence about where an artifact comes from."""
    known = embedded.provenance
    if "version" not in known:
        return "The file does not say where it comes from."
    parts = [f"Made by edgekit {known['version']} from {known.get('source', 'an unnamed model')}"]
    if "digest" in known:
        parts.append(f" (digest {known['digest'][:_SHOWN_DIGITS]})")
    parts.append(f", {known['precision']}" if "precision" in known else "")
    parts.append(f", after {known['techniques']}" if "techniques" in known else "")
    if "calibration" in known:
        parts.append(f", calibrated on data {known['calibration'][:_SHOWN_DIGITS]}")
    return "".join(parts) + "."


def labels_line(labels: tuple[str, ...]) -> str:
    """Returns labels in a few words: `4: cat, dog, horse ...`."""
    shown = ", ".join(labels[:_SHOWN_LABELS])
    return f"{len(labels)}: {shown}{' ...' if len(labels) > _SHOWN_LABELS else ''}"
