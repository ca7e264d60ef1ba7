"""TFLite INT8 as its documentation does it: litert-torch, then ai-edge-quantizer's static_wi8_ai8."""

import sys
from pathlib import Path

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from bare_common import images, model

out = Path(sys.argv[1])
litert_torch.convert(model(), (torch.zeros(1, 3, 224, 224),)).export(str(out / "f.tflite"))
quantize = quantizer.Quantizer(str(out / "f.tflite"))
quantize.load_quantization_recipe(recipe.static_wi8_ai8())
signatures = Interpreter(str(out / "f.tflite")).get_signature_list()
key = next(iter(signatures))
name = signatures[key]["inputs"][0]
ranges = quantize.calibrate({key: [{name: image.numpy()} for image in images()]})
quantize.quantize(ranges).export_model(str(out / "bare.tflite"), overwrite=True)
