"""Core ML W8A8 on Linux: PT2E with ExecuTorch's CoreMLQuantizer and its observers, then coremltools."""

import sys
from pathlib import Path

import coremltools as ct
import torch
from bare_common import images, model
from coremltools.optimize.torch.quantization.quantization_config import LinearQuantizerConfig
from executorch.backends.apple.coreml.quantizer import CoreMLQuantizer
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

out = Path(sys.argv[1])
example = (torch.zeros(1, 3, 224, 224),)
config = {
    "quantization_scheme": "symmetric",
    "milestones": [0, 0, 10, 10],
    "activation_dtype": torch.quint8,
    "weight_dtype": torch.qint8,
    "weight_per_channel": True,
}
quantizer = CoreMLQuantizer(LinearQuantizerConfig.from_dict({"global_config": config}))
graph = prepare_pt2e(torch.export.export(model(), example).module(), quantizer)
with torch.no_grad():
    for image in images():
        graph(image)
program = torch.export.export(convert_pt2e(graph), example).run_decompositions({})
passes = ct.PassPipeline.DEFAULT
passes.remove_passes({"common::int_op_canonicalization"})
package = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, pass_pipeline=passes)
package.save(str(out / "bare.mlpackage"))
