"""Sums and means that convert what they read: not every format converts as torch does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def of_one_type(call: Call) -> Function | None:
    """Writes the conversion of a sum or mean in front of it: counts of a mask are integers, `dtype=` is obeyed.

    Core ML counts a mask in floats, which no gather takes as places, and ignores `dtype=`.
    """
    wanted = call.results[0].dtype
    if call["self"].dtype == wanted:
        return None
    settings = {name: value for name, value in call.arguments.items() if name not in ("self", "dtype")}

    def reduced(x: Tensor) -> object:
        return call.operator(x.to(wanted), **settings)

    return reduced
