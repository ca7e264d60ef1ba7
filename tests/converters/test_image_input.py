"""Converters that write no image input, and what Core ML's classifiers can be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, final

import pytest

from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.coreml_image import classes_of, image_notes
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind, CapturedModel, TensorSpec
from edgekit.recipe import Recipe
from edgekit.task.image_input import ImageInput
from edgekit.task.task import ImagePreprocessing
from edgekit.workers.worker import Progress, silent

SPEC = TensorSpec(name="x", shape=(1, 3, 4, 6), dtype="float32", layout="NCHW")


@final
class FloatsOnly(Converter):
    runtime: ClassVar[str] = "onnx"

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        raise AssertionError("it was refused before")


def test_a_converter_that_writes_no_image_input_refuses_one(tmp_path: Path) -> None:
    model = CapturedModel(
        name="net", source="m.py:build", source_kind="torch", kind="pt2", path=tmp_path, inputs=(SPEC,), outputs=(),
        digest="", parameters=0, macs=0, family="cnn",
    )  # fmt: skip
    request = ConversionRequest(
        model=model, recipe=Recipe(default="fp32"), calibration=None, scratch=tmp_path,
        image=ImageInput(spec=SPEC, steps=ImagePreprocessing()),
    )  # fmt: skip
    message = (
        "m.py:build cannot become onnx with an image input: its converter writes none. Export without --image-input."
    )
    with pytest.raises(ConversionError, match=f"^{re.escape(message)}$"):
        FloatsOnly().run(request, tmp_path / "out.onnx", silent)


def output(*shape: int) -> TensorSpec:
    return TensorSpec(name="y", shape=shape, dtype="float32")


@pytest.mark.parametrize(
    ("labels", "outputs", "found"),
    [
        (("a", "b"), (output(1, 2),), ("a", "b")),
        ((), (output(1, 2),), ()),
        (("a", "a"), (output(1, 2),), ()),
        (("a", "b"), (output(1, 3),), ()),
        (("a", "b"), (output(1, 2), output(1, 2)), ()),
    ],
    ids=["a classifier", "no labels", "a label twice", "another count", "two outputs"],
)
def test_a_classifier_has_one_output_with_an_entry_a_label(
    labels: tuple[str, ...], outputs: tuple[TensorSpec, ...], found: tuple[str, ...]
) -> None:
    image = ImageInput(spec=SPEC, steps=ImagePreprocessing(), labels=labels)
    assert classes_of(image, outputs) == found
    assert classes_of(None, outputs) == ()
    says_no = any("It is no classifier" in note for note in image_notes(image, found))
    assert says_no == bool(labels and not found)
