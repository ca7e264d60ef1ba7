"""What each MIL operator computes, in torch. One file a group of operators; `table` lists them all.

These modules import torch at the top: they are imported only once a package is loaded. Semantics are those of the
operators' documentation and `value_inference` in coremltools 9. Kernels compute in fp32 and in the integer types
that the program declares; the interpreter converts results to the declared type and rounds fp16 ones. A kernel never
changes its inputs.
"""
