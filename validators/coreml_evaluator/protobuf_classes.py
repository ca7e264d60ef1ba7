"""Core ML's protobuf classes, without importing all of coremltools.

`import coremltools` pulls in torch, TensorFlow and scikit-learn and takes 5 to 20 s. Only the generated classes in
`coremltools.proto` are needed, and they import each other as `coremltools.proto`; so a bare stand-in for the parent
package is put in `sys.modules` while they load, and taken out again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass
from typing import Any, final

from edgekit.errors import MissingDependencyError

PACKAGE = "coremltools"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProtobufClasses:
    """The generated modules that the evaluator uses.

    Attributes:
        model: `Model_pb2`, the file format.
        features: `FeatureTypes_pb2`, the model's interface.
    """

    model: Any
    features: Any


def protobuf_classes() -> ProtobufClasses:
    """Returns Core ML's protobuf classes.

    Raises:
        MissingDependencyError: coremltools is not installed, or too old or new to have these classes.
    """
    if PACKAGE in sys.modules:
        return _import_classes()
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ValueError:  # a stand-in without a spec: another caller's business, not an installed package
        spec = None
    if spec is None or spec.submodule_search_locations is None:
        raise MissingDependencyError(
            "coremltools is not installed; the Core ML evaluator needs its protobuf classes. "
            "Install the extra: pip install -e '.[coreml]'"
        )
    parent = types.ModuleType(PACKAGE)
    parent.__path__ = list(spec.submodule_search_locations)
    sys.modules[PACKAGE] = parent
    try:
        return _import_classes()
    finally:
        # A later `import coremltools` must run its own __init__. It then finds the sub-package `proto` loaded, whole.
        del sys.modules[PACKAGE]


def _import_classes() -> ProtobufClasses:
    try:
        return ProtobufClasses(
            model=importlib.import_module(f"{PACKAGE}.proto.Model_pb2"),
            features=importlib.import_module(f"{PACKAGE}.proto.FeatureTypes_pb2"),
        )
    except ImportError as error:
        raise MissingDependencyError(
            f"coremltools is installed but its protobuf classes cannot be imported ({error}). "
            "Install coremltools 9: pip install -e '.[coreml]'"
        ) from error
