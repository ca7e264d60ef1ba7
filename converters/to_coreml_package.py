"""Writes a coremltools model as an .mlpackage whose bytes depend on nothing but the model.

coremltools draws random identifiers for the manifest, serializes maps in any order, and adds a debug file of the
exported program that no runtime reads (180 kB on EfficientNet-Lite0) and that it cannot make of a program with loops,
such as a GRU. So its `save` is not used. The layout of a package:

    Manifest.json                                which item is the root model
    Data/com.apple.CoreML/model.mlmodel          the program, protobuf
    Data/com.apple.CoreML/weights/weight.bin     constants
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.converters.coreml_pipeline import Suppression, in_pipeline

if TYPE_CHECKING:
    from coremltools.models import MLModel

_AUTHOR: Final = "com.apple.CoreML"


def write_package(
    model: MLModel, metadata: Mapping[str, str], output: Path, suppression: Suppression | None = None
) -> None:
    """Writes `model` (a coremltools MLModel) with `metadata` embedded to the folder `output`.

    With a suppression the model is a detector, and the package a pipeline of the two.
    """
    for key, value in {**metadata, **(suppression.to_metadata() if suppression else {})}.items():
        model.user_defined_metadata[key] = value
    # The date would make two packages of one model differ.
    model.user_defined_metadata.pop("com.github.apple.coremltools.conversion_date", None)
    source, target = Path(str(model.package_path)) / "Data" / _AUTHOR, output / "Data" / _AUTHOR
    target.mkdir(parents=True)
    spec = model.get_spec()
    spec = in_pipeline(spec, suppression) if suppression else spec
    program = spec.SerializeToString(deterministic=True)
    (target / "model.mlmodel").write_bytes(program)
    weights = source / "weights"
    if weights.is_dir():
        shutil.copytree(weights, target / "weights")
    seed = hashlib.sha256(program).hexdigest()
    items = {"model.mlmodel": "CoreML Model Specification"}
    if weights.name in {item.name for item in target.iterdir()}:
        items["weights"] = "CoreML Model Weights"
    identifiers = {name: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{name}")) for name in items}
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            identifiers[name]: {"author": _AUTHOR, "description": text, "name": name, "path": f"{_AUTHOR}/{name}"}
            for name, text in items.items()
        },
        "rootModelIdentifier": identifiers["model.mlmodel"],
    }
    (output / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n")
