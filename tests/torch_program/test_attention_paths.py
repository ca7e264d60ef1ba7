from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgekit.torch_program.attention_paths import plain_attention
from edgekit.torch_program.trace_module import export_module

SIZE = 5


class Translator(nn.Module):
    """An encoder and a decoder with a causal mask from where `mask` takes it."""

    def __init__(self, mask: Callable[[nn.Module], torch.Tensor]) -> None:
        super().__init__()
        layer = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**layer), 1)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), 1)
        self.register_buffer("kept", nn.Transformer.generate_square_subsequent_mask(SIZE))
        self.mask = mask

    def forward(self, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        mask = self.mask(self)
        memory = self.encoder(given, mask=mask)
        return self.decoder(wanted, memory, tgt_mask=mask, tgt_key_padding_mask=wanted[..., 0] > 1.5)


MASKS = {
    "made": lambda _: nn.Transformer.generate_square_subsequent_mask(SIZE),
    "kept": lambda net: net.kept,
    "not-causal": lambda net: net.kept.T.contiguous(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.filterwarnings("ignore:.*nested tensor|.*mismatched")
def test_layers_with_masks_are_captured_and_compute_what_they_did(name: str) -> None:
    torch.manual_seed(0)
    net = Translator(MASKS[name]).eval()
    calls = [(torch.randn(1, SIZE, 8), torch.randn(1, SIZE, 8)) for _ in range(2)]
    program = export_module(net, calls[0], "net").module()
    for call in calls:
        torch.testing.assert_close(program(*call), net(*call))


def test_what_was_set_before_is_set_again() -> None:
    from torch.nn.modules import transformer

    before = torch.backends.mha.get_fastpath_enabled(), transformer.__dict__["_detect_is_causal_mask"]
    with plain_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert (torch.backends.mha.get_fastpath_enabled(), transformer.__dict__["_detect_is_causal_mask"]) == before
