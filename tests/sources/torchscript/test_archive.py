"""TorchScript archives, told from pickles without torch, and what would run code at loading refused."""

from __future__ import annotations

import zipfile

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.sources.torchscript.archive import check_archive, is_torchscript

pytestmark = pytest.mark.filterwarnings("ignore")  # torch deprecates TorchScript as a whole


def test_a_scripted_module_is_torchscript_and_a_pickle_is_not(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), tmp_path / "script.pt")
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("PK\x03\x04 but no archive")
    assert [is_torchscript(tmp_path / f"{name}.pt") for name in ("script", "weights", "text", "missing")] == [
        True,
        False,
        False,
        False,
    ]


def test_a_module_that_runs_code_at_loading_is_refused(tmp_path):
    class Packed(nn.Module):
        @torch.jit.export
        def __getstate__(self):
            return 1, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[int, bool]):
            self.training = state[1]

        def forward(self, x):
            return x

    torch.jit.save(torch.jit.script(Packed()), tmp_path / "net.pt")
    with pytest.raises(ModelError) as caught:
        check_archive(tmp_path / "net.pt", "net.pt")
    assert caught.value.message.startswith("net.pt: __torch__/")
    assert caught.value.message.endswith(
        "has a __setstate__, which would run while the file is loaded, and edgekit runs no code of a file. Modules "
        "whose weights are packed for torch's own quantized kernels have one: save the float model before it is "
        "quantized, and let edgekit quantize it (--precision int8)."
    )


def test_a_cut_archive_is_damaged(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), tmp_path / "net.pt")
    data = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "net.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError) as caught:
        check_archive(tmp_path / "net.pt", "net.pt")
    assert caught.value.message == ("net.pt is damaged: it is no complete zip archive. Copy or save the file again.")


def test_an_archive_of_code_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/code/__torch__.py", b"#" * (65 << 20))
    with pytest.raises(ModelError) as caught:
        check_archive(tmp_path / "net.pt", "net.pt")
    assert caught.value.message == "net.pt holds more than 64 MB of code; no model needs that."
