"""What the layers of an ONNX file are called, wherever it goes: in the torch program made of it and in the converter.

One rule, because a recipe names layers as they were measured in one and is carried out in the other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.keyword_names import without_keywords

if TYPE_CHECKING:
    import onnx

SCOPES: Final = "pkg.torch.onnx.name_scopes"
"""Key under which torch's exporter notes the modules that a node came from."""


def module_name(proto: onnx.NodeProto) -> str:
    """Returns a dotted name: of the torch module that the node came from where the file says so, else of the node."""
    properties: Mapping[str, str] = {entry.key: entry.value for entry in proto.metadata_props}
    scopes: Sequence[Any] = ()
    if SCOPES in properties:
        try:
            scopes = ast.literal_eval(properties[SCOPES])
        except (SyntaxError, ValueError):  # another exporter's spelling: the node's own name will do
            scopes = ()
    if len(scopes) >= 2:
        text = f"{scopes[-2]}.{scopes[-1]}" if scopes[-2] else str(scopes[-1])
    else:
        text = proto.name or f"{proto.op_type}_{proto.output[0]}"
    parts = [re.sub(r"\W", "_", part) for part in re.split(r"[./]+", text) if part]
    return without_keywords(".".join(parts)) or proto.op_type
