"""Which operators are rewritten at capture, for all formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgekit.torch_program.rewrites import (
    assignment,
    elementwise,
    embedding,
    norms,
    ordering,
    padding,
    pooling,
    products,
    resizing,
    shuffling,
    windows,
)
from edgekit.torch_program.rewrites.call import Rewrite

REWRITES: Final[Mapping[str, Rewrite]] = {
    "conv1d.padding": padding.convolution_of_words,
    "conv2d.padding": padding.convolution_of_words,
    "conv3d.padding": padding.convolution_of_words,
    "pad": padding.pad,
    "constant_pad_nd": padding.pad,
    "upsample_bicubic2d": resizing.resize,
    "_upsample_bicubic2d_aa": resizing.resize,
    "_upsample_bilinear2d_aa": resizing.resize,
    "upsample_nearest1d": resizing.nearest,
    "upsample_nearest2d": resizing.nearest,
    "_upsample_nearest_exact1d": resizing.nearest,
    "_upsample_nearest_exact2d": resizing.nearest,
    "rms_norm": norms.rms_norm,
    "avg_pool3d": norms.average_over_depth,
    "adaptive_max_pool1d": pooling.adaptive_max,
    "adaptive_max_pool2d": pooling.adaptive_max,
    "max_unpool2d": pooling.max_unpool,
    "unfold": windows.frames,
    "col2im": windows.fold,
    "copy": assignment.copy,
    "fill": assignment.fill,
    "slice_scatter": assignment.slice_scatter,
    "select_scatter": assignment.select_scatter,
    "index_put": assignment.index_put,
    "index_add": assignment.index_add,
    "sort": ordering.sort,
    "argsort": ordering.argsort,
    "topk": ordering.topk,
    "bucketize": ordering.bucketize,
    "prod": products.prod,
    "cumprod": products.cumprod,
    "cdist": products.cdist,
    "celu": elementwise.celu,
    "log_sigmoid": elementwise.log_sigmoid,
    "trunc": elementwise.trunc,
    "fix": elementwise.trunc,
    "frac": elementwise.frac,
    "fmod": elementwise.fmod,
    "lerp": elementwise.lerp,
    "nan_to_num": elementwise.nan_to_num,
    "hardshrink": elementwise.hardshrink,
    "softshrink": elementwise.softshrink,
    "asinh": elementwise.asinh,
    "acosh": elementwise.acosh,
    "atanh": elementwise.atanh,
    "channel_shuffle": shuffling.channel_shuffle,
    "flip": shuffling.flip,
    "one_hot": shuffling.one_hot,
    "embedding_bag": embedding.embedding_bag,
}
"""By `operator` or `operator.overload`."""
