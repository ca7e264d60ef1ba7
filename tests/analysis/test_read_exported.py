"""Costed graphs of torch's exported programs."""

from __future__ import annotations

import pytest

from edgekit.analysis.analyze import AnalysisRequest, analyze, run
from edgekit.analysis.graph import Analysis
from edgekit.errors import ModelError
from edgekit.workers.structure import read_value, write_value

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = [
    # Said by torch.export itself about nn.LSTM and about its own tree specs.
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.stem(nn.functional.pad(x, (0, 1, 0, 1))))
        x = x + self.pointwise(nn.functional.relu6(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.places = nn.Embedding(8, 16)
        self.register_buffer("index", torch.arange(8)[None])
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.places(self.index))
        q, k, v = self.qkv(x).chunk(3, -1)
        split = lambda t: t.view(1, 8, 2, 8).transpose(1, 2)  # noqa: E731
        y = nn.functional.scaled_dot_product_attention(split(q), split(k), split(v))
        # The table is the last layer's matrix too.
        return nn.functional.linear(y.transpose(1, 2).reshape(1, 8, 16), self.words.weight)


class Recurrent(nn.Module):
    def __init__(self, *, batch_first=True):
        super().__init__()
        self.lstm = nn.LSTM(6, 4, 2, batch_first=batch_first)

    def forward(self, x):
        return self.lstm(x)[0]


def analysis_of(module, inputs, folder):
    path = folder / "float.pt2"
    torch.export.save(torch.export.export(module.eval(), inputs), path)
    return analyze("pt2", path)


def by_module(analysis):
    return {operator.module: operator for operator in analysis.operators}


def test_a_cnn_is_read_as_a_runtime_runs_it(tmp_path):
    found = analysis_of(Residual(), (torch.randn(1, 3, 16, 16),), tmp_path)
    operators = by_module(found)
    assert [o.kernel for o in found.operators] == [
        "dense_conv", "depthwise_conv", "pointwise_conv", "elementwise", "pooling", "linear",
    ]  # fmt: skip
    assert operators["stem"].fused == ("pad", "relu")
    assert operators["stem"].macs == 8 * 8 * 8 * 9 * 3
    assert operators["depthwise"].macs == 8 * 8 * 8 * 9
    assert operators["depthwise"].fused in (("relu6",), ("hardtanh",))
    assert operators["pointwise"].macs == 8 * 8 * 8 * 8
    assert operators["head"].macs == 40
    assert operators["stem"].attributes == {"kernel_h": 3, "kernel_w": 3, "stride_h": 2, "stride_w": 2, "groups": 1}


def test_weights_keep_their_names_roles_and_channels(tmp_path):
    found = analysis_of(Residual(), (torch.randn(1, 3, 16, 16),), tmp_path)
    assert (found.weights["stem.weight"].role, found.weights["stem.weight"].channels) == ("kernel", 8)
    assert (found.weights["head.bias"].role, found.weights["head.bias"].channels) == ("bias", 5)
    assert found.parameters == sum(p.numel() for p in Residual().parameters())
    assert found.family == "cnn"


def test_the_residual_is_added_in_place_and_the_peak_is_where_three_maps_are_alive(tmp_path):
    found = analysis_of(Residual(), (torch.randn(1, 3, 16, 16),), tmp_path)
    maps = 8 * 8 * 8 * 4
    image = 3 * 16 * 16 * 4
    assert found.memory.live_peak_bytes == image + 3 * maps
    assert by_module(found)["pointwise"].name == found.memory.peak_operator


def test_attention_becomes_two_products_and_a_softmax(tmp_path):
    found = analysis_of(Encoder(), (torch.zeros(1, 8, dtype=torch.int64),), tmp_path)
    products = [o for o in found.operators if o.kernel == "attention_matmul"]
    assert [o.macs for o in products] == [2 * 8 * 8 * 8, 2 * 8 * 8 * 8]
    assert found.family == "transformer"
    assert any(o.type == "softmax" for o in found.operators)


def test_tied_weights_are_one_weight(tmp_path):
    found = analysis_of(Encoder(), (torch.zeros(1, 8, dtype=torch.int64),), tmp_path)
    table = found.weights["words.weight"]
    assert (table.role, table.shared_by) == ("kernel", 2)
    assert found.parameters == sum(p.numel() for p in Encoder().parameters())


def test_a_sliced_table_is_read_in_part(tmp_path):
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.Parameter(torch.randn(32, 8))
            self.both = nn.Parameter(torch.randn(4, 8))

        def forward(self, x):
            return x + self.rows[:4] + self.both[1:3].repeat(2, 1) + self.both

    weights = analysis_of(Positions(), (torch.zeros(1, 4, 8),), tmp_path).weights
    assert (weights["rows"].shape, weights["rows"].read_share) == ((32, 8), 4 / 32)
    assert weights["both"].read_share == 1.0


def test_norms_that_look_alike_are_not_tied(tmp_path):
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8))
    assert analysis_of(model, (torch.randn(1, 8),), tmp_path).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("batch_first", "shape"), [(True, (1, 9, 6)), (False, (9, 1, 6))], ids=["batch first", "time first"]
)
def test_an_lstm_is_one_operator_that_applies_its_matrices_once_per_step(batch_first, shape, tmp_path):
    found = analysis_of(Recurrent(batch_first=batch_first), (torch.randn(*shape),), tmp_path)
    (lstm,) = [o for o in found.operators if o.kernel == "recurrent"]
    assert lstm.macs == 9 * (16 * 6 + 16 * 4 + 16 * 4 + 16 * 4)
    assert lstm.attributes == {"steps": 9}
    assert found.family == "rnn"


def test_core_aten_costs_the_same_as_what_it_came_from(tmp_path):
    program = torch.export.export(Residual().eval(), (torch.randn(1, 3, 16, 16),))
    torch.export.save(program, tmp_path / "a.pt2")
    torch.export.save(program.run_decompositions(), tmp_path / "b.pt2")
    a, b = analyze("pt2", tmp_path / "a.pt2"), analyze("pt2", tmp_path / "b.pt2")
    assert (a.macs, a.parameters, a.family) == (b.macs, b.parameters, b.family)
    assert a.memory.live_peak_bytes == b.memory.live_peak_bytes
    assert a.weights["head.weight"].channels == b.weights["head.weight"].channels == 5


def test_an_unknown_operator_is_counted_and_said(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.i0(x)

    found = analysis_of(Odd(), (torch.randn(1, 4),), tmp_path)
    (note,) = found.notes
    assert note.removeprefix("special_") == "i0: not known to the analysis; counted as element-wise work without MACs."


def test_json_brings_everything_back(tmp_path):
    found = analysis_of(Encoder(), (torch.zeros(1, 8, dtype=torch.int64),), tmp_path)
    write_value(tmp_path / "analysis.json", found)
    assert read_value(tmp_path / "analysis.json", Analysis) == found


def test_the_worker_tells_what_it_does(tmp_path):
    path = tmp_path / "float.pt2"
    torch.export.save(torch.export.export(Residual().eval(), (torch.randn(1, 3, 16, 16),)), path)
    phrases = []
    found = run(AnalysisRequest(kind="pt2", path=path), lambda phrase, _share: phrases.append(phrase))
    assert found == analyze("pt2", path)
    assert phrases == ["reading the graph"]


def test_a_file_that_is_no_exported_program_is_refused(tmp_path):
    path = tmp_path / "bad.pt2"
    path.write_bytes(b"not a zip")
    with pytest.raises(ModelError) as caught:
        analyze("pt2", path)
    assert caught.value.message == (
        f"{path} is damaged: it is no complete zip archive (9 bytes). Copy or save the file again."
    )
