"""An importer of ONNX graphs (opset 11 to 21) into torch modules. Each group of operators is one file."""
