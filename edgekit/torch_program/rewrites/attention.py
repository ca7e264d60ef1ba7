"""Attention as two products and a softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def attention_in_parts(call: Call) -> Function | None:
    """Writes softmax(q k' / sqrt(d) + mask) v (Vaswani et al., "Attention is all you need", 2017, equation 1).

    No row may be masked whole (see `masked_rows`). torch's own way into parts keeps a check for such rows, and views
    that are recorded before fit the memory of its joined kernel, not that of the parts.
    """
    import torch

    if float(call["dropout_p"]) or call["enable_gqa"] or len(call.shape("query")) < 3:
        return None
    scale = 1 / math.sqrt(call.shape("query")[-1]) if call["scale"] is None else float(call["scale"])
    places, seen = call.shape("query")[-2], call.shape("key")[-2]

    def parts(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = torch.matmul(query * scale, key.transpose(-2, -1))
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        if call["is_causal"]:
            scores = scores + torch.full((places, seen), -math.inf).triu(1)
        return torch.matmul(torch.softmax(scores, -1), value).contiguous()

    return parts
