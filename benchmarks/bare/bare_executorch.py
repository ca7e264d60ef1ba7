"""ExecuTorch INT8 as its documentation does it: PT2E with XNNPACKQuantizer and its observers, then lower to XNNPACK."""

import sys
from pathlib import Path

import torch
from bare_common import images, model
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

out = Path(sys.argv[1])
example = (torch.zeros(1, 3, 224, 224),)
quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
graph = prepare_pt2e(torch.export.export(model(), example).module(), quantizer)
with torch.no_grad():
    for image in images():
        graph(image)
program = torch.export.export(convert_pt2e(graph), example)
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
(out / "bare.pte").write_bytes(lowered.buffer)
