"""TorchScript as plain modules: the same numbers as torch's own interpreter gives, and names as the file has them."""

import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional  # noqa: UP035  torch.jit.script reads these

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.sources.torchscript.plain_module import plain_module, read_file
from edgekit.torch_program.trace_module import export_module

pytestmark = pytest.mark.filterwarnings("ignore")  # torch deprecates TorchScript as a whole


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), True

    def forward(self, x):
        y = self.norm(self.conv(x))
        if x.shape[2] > 6 and self.wide:
            y = functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        found = []
        for i in range(3):
            if i == 1:
                continue
            found.append(y.mean(dim=[2, 3]) * i)
        return {"means": torch.cat(found, 1), "map": y[..., 1:]}


class Scale:
    def __init__(self, by: int) -> None:
        self.by = by

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.by


class Language(nn.Module):
    """Optional arguments, classes of the file's own, contexts, dictionaries, strings, early returns."""

    table: Dict[str, int]  # noqa: UP006

    def __init__(self) -> None:
        super().__init__()
        self.table = {"a": 2, "b": 3}
        self.register_buffer("mean", torch.zeros(4))

    def part(self, x, more: Optional[torch.Tensor] = None):  # noqa: UP045
        if more is None:
            return x
        return x + more

    def forward(self, x, by: float = 2.0):
        with torch.no_grad():
            scaled = Scale(self.table["b"]).of(x)
        names: List[str] = []  # noqa: UP006
        for name in self.table:
            names.append(name.upper() if name == "c" else name)  # noqa: PERF401  a list that grows is the point
        assert len(names) == 2, "two names"
        rows, columns = x.shape
        turns = 0
        while turns < columns // 2 + rows % 2:
            scaled = self.part(scaled, self.mean) if turns > 0 else self.part(scaled)
            turns += 1
        if rows > 100:
            return scaled, [x]
        wide = torch.arange(columns, dtype=torch.float32, device=x.device).to(x.dtype)
        return scaled * by + wide, [x.sum(dim=-1), torch.tensor([1.0, 2.0])]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x):
        task = torch.jit.fork(self.first, x)
        return torch.jit.wait(task) + self.second(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 5)

    def forward(self, ids):
        y, _ = self.lstm(self.table(ids))
        return self.gru(y)[0]


class Sizes(nn.Module):
    """What tracing makes arithmetic on tensors of: sizes of tensors."""

    def forward(self, x):
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        y = y.reshape(n, -1, (h * w) // 4)
        return functional.pad(y, (0, w - h // 2)) * (h / w)


CONVOLUTIONS = [
    (nn.Conv1d(2, 4, 3, padding="same", groups=2), (1, 2, 9)),
    (nn.Conv2d(2, 4, (3, 1), stride=2, dilation=2, padding=(2, 0)), (1, 2, 9, 7)),
    (nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), (1, 2, 9, 7)),
    (nn.Conv3d(1, 2, 2), (1, 1, 4, 4, 4)),
    (nn.ConvTranspose1d(2, 4, 3, stride=2, output_padding=1), (1, 2, 5)),
    (nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, groups=2), (1, 2, 5, 5)),
]

MODELS: list[tuple[nn.Module, tuple[Any, ...]]] = [
    (Branches(), (torch.rand(1, 3, 8, 8),)),
    (Branches(), (torch.rand(1, 3, 4, 4),)),
    (Language(), (torch.rand(1, 4),)),
    (Language(), (torch.rand(1, 4), 3.0)),
    (Shared(), (torch.rand(2, 4),)),
    (Recurrent(), (torch.randint(0, 20, (1, 7)),)),
    (Sizes(), (torch.rand(1, 2, 4, 6),)),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.rand(1, 5, 8),)),
    *((layer, (torch.rand(shape),)) for layer, shape in CONVOLUTIONS),
]


def title_of(case: object) -> str | None:
    return type(case).__name__ if isinstance(case, nn.Module) else None


def leaves(value: object) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(value)


def read(script: Any, folder: Path) -> nn.Module:
    torch.jit.save(script, folder / "net.pt")
    return read_file(folder / "net.pt", "net.pt").module


def check(script: Any, args: tuple[Any, ...], folder: Path) -> None:
    """Holds plain modules and what torch.export makes of them against torch's own interpreter."""
    wanted = script(*args)
    module = read(script, folder)
    got = module(*args)
    assert torch.utils._pytree.tree_structure(got) == torch.utils._pytree.tree_structure(wanted)
    for one, other in zip(leaves(got), leaves(wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    tensors = tuple(arg for arg in args if isinstance(arg, torch.Tensor))
    if len(tensors) == len(args):
        program = export_module(module, args, "net.pt")
        for one, other in zip(leaves(program.module()(*args)), leaves(wanted), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert set(program.state_dict) <= set(script.state_dict())


@pytest.mark.parametrize(("model", "args"), MODELS, ids=title_of)
def test_a_scripted_module_computes_the_same(model, args, tmp_path):
    check(torch.jit.script(model.eval()), args, tmp_path)


TRACED = [(model, args) for model, args in MODELS if not isinstance(model, (Language, Branches))]


@pytest.mark.parametrize(("model", "args"), TRACED, ids=title_of)
def test_a_traced_module_computes_the_same(model, args, tmp_path):
    check(torch.jit.trace(model.eval(), args, check_trace=False), args, tmp_path)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_joined_kernels_of_a_trace_without_gradients_are_taken_apart(norm_first, activation, tmp_path):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first, activation=activation)
    args = (torch.rand(2, 5, 8),)
    with torch.no_grad():
        script = torch.jit.trace(layer.eval(), args, check_trace=False)
        assert "_transformer_encoder_layer_fwd" in str(script.graph)
        check(script, args, tmp_path)


def test_a_joined_attention_with_its_shares_is_taken_apart(tmp_path):
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)

    args = (torch.rand(2, 5, 8),)
    with torch.no_grad():
        script = torch.jit.trace(Attending().eval(), args, check_trace=False)
        assert "_native_multi_head_attention" in str(script.inlined_graph)
        check(script, args, tmp_path)


def test_a_frozen_module_computes_the_same(tmp_path):
    check(torch.jit.freeze(torch.jit.script(Branches().eval())), (torch.rand(1, 3, 8, 8),), tmp_path)


def test_a_file_of_pytorch_mobile_computes_the_same(tmp_path):
    script, x = torch.jit.script(Branches().eval()), torch.rand(1, 3, 8, 8)
    script._save_for_lite_interpreter(str(tmp_path / "net.ptl"))
    got = read_file(tmp_path / "net.ptl", "net.ptl").module(x)
    torch.testing.assert_close(got, script(x))


def test_layers_keep_their_names_and_classes(tmp_path):
    module = read(torch.jit.script(Branches().eval()), tmp_path)
    assert [name for name, _ in module.named_parameters()] == ["conv.weight", "conv.bias", "norm.weight", "norm.bias"]
    program = export_module(module, (torch.rand(1, 3, 8, 8),), "net.pt")
    node = next(node for node in program.graph.nodes if "conv2d" in str(node.target))
    path, kind = list(node.meta["nn_module_stack"].values())[-1]
    assert (path, kind.rpartition(".")[2]) == ("conv", "Conv2d")


def test_what_is_shared_stays_one_tensor(tmp_path):
    module = read(torch.jit.script(Shared().eval()), tmp_path)
    assert module.first.weight is module.second.weight


def test_the_lines_of_the_user_s_code_stand_in_the_graph(tmp_path):
    module = read(torch.jit.script(Branches().eval()), tmp_path)
    program = export_module(module, (torch.rand(1, 3, 8, 8),), "net.pt")
    node = next(node for node in program.graph.nodes if "upsample" in str(node.target))
    assert f'File "{__file__}", line ' in node.meta["stack_trace"] or "functional.py" in node.meta["stack_trace"]


def test_a_trace_keeps_the_shapes_of_its_inputs(tmp_path):
    torch.jit.save(torch.jit.trace(Recurrent().eval(), torch.zeros(1, 7, dtype=torch.int64)), tmp_path / "net.pt")
    assert read_file(tmp_path / "net.pt", "net.pt").shapes == {"ids": ((1, 7), "int64")}


def test_a_scripted_module_keeps_none(tmp_path):
    torch.jit.save(torch.jit.script(Recurrent().eval()), tmp_path / "net.pt")
    assert read_file(tmp_path / "net.pt", "net.pt").shapes == {}


def test_each_call_begins_with_the_attributes_of_the_file(tmp_path):
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    module = read(torch.jit.script(Counting().eval()), tmp_path)
    x = torch.ones(1)
    assert [float(module(x)), float(module(x))] == [1.0, 1.0]


def test_a_module_in_memory_is_left_as_it_is():
    script = torch.jit.script(Branches())
    assert not plain_module(script, "net").training
    assert script.training


class Writing(nn.Module):
    def forward(self, x):
        torch.save(x, "stolen.pt")
        return x


def test_operators_that_touch_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = read(torch.jit.script(Writing().eval()), tmp_path)
    with pytest.raises(ModelError) as caught:
        module(torch.zeros(1))
    assert caught.value.message == (
        "net.pt uses aten::save, an operator that edgekit does not know. Save the float model before it is quantized, "
        "frozen for a backend or optimized for mobile: torch.jit.save(torch.jit.trace(model, example_inputs), path)."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


class Failing(nn.Module):
    def forward(self, x):
        if x.dim() != 4:
            raise ValueError("pictures only")
        return x


def test_what_a_model_refuses_is_said_in_its_words(tmp_path):
    module = read(torch.jit.script(Failing().eval()), tmp_path)
    with pytest.raises(
        ModelError, match=r"net\.pt refuses these inputs \(.*test_plain_module\.py, line \d+\): pictures only$"
    ):
        module(torch.zeros(1))


class Endless(nn.Module):
    def forward(self, x):
        turns = 0
        while turns >= 0:
            turns += 1
        return x * turns


def test_a_loop_without_end_is_ended(tmp_path):
    module = read(torch.jit.script(Endless().eval()), tmp_path)
    with pytest.raises(ModelError, match=r"net\.pt: a loop takes more than 16384 turns \(.*, line \d+\)\.$"):
        module(torch.zeros(1))


class Methods(nn.Module):
    @torch.jit.export
    def encode(self, x):
        return x


def test_a_module_without_a_forward_lists_its_methods(tmp_path):
    torch.jit.save(torch.jit.script(Methods()), tmp_path / "net.pt")
    with pytest.raises(ModelError) as caught:
        read_file(tmp_path / "net.pt", "net.pt")
    assert caught.value.message == "net.pt has no forward; its methods are encode."


def test_a_damaged_file_is_refused_with_what_may_be_wrong(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as archive, zipfile.ZipFile(tmp_path / "cut.pt", "w") as target:
        for name in archive.namelist():
            target.writestr(name, b"" if name.endswith("/data.pkl") else archive.read(name))
    with pytest.raises(
        ModelError,
        match=r"^cut\.pt cannot be read as TorchScript: .*give the factory of its torch.nn.Module: model\.py:build\.$",
    ):
        read_file(tmp_path / "cut.pt", "cut.pt")


class Formatting(nn.Module):
    def forward(self, x):
        text = "{} of {0.shape}"
        return {text.format("sum"): x.sum(), text[:2].format(1): x}


def test_a_text_of_the_file_reaches_no_attributes(tmp_path):
    module = read(torch.jit.script(Formatting().eval()), tmp_path)
    assert sorted(module(torch.zeros(1))) == ["1", "sum of {0.shape}"]
