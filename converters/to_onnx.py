"""ONNX for onnxruntime (and TensorRT): float, half, static and dynamic INT8, INT4 weights.

The float graph comes from `onnx_source`; each family of precisions has its own file beside this one. The same request
gives the same bytes: nodes carry no stack traces and the file no time or path.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

import edgekit
from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.onnx_source import FloatGraph, float_graph
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind, TensorSpec
from edgekit.plan import Precision, Recipe
from edgekit.worker import Progress

IO_KEY: Final = "edgekit.io"
"""Metadata entry with the inputs and outputs as JSON."""

_INTEGER: Final = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "MatMulNBits", "DynamicQuantize")
