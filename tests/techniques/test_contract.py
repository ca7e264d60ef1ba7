"""One suite over all techniques: what every technique promises, whatever it does."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, final

import pytest

from edgekit import registry
from edgekit.errors import MissingDependencyError, TechniqueError, UsageError, WorkerError
from edgekit.profiles.profile import find_profile
from edgekit.recipe import Step
from edgekit.task.task import Training
from edgekit.techniques.base import Context, Estimate, Technique
from edgekit.techniques.base import technique as find_technique
from edgekit.testing.technique_contract import KNOWN_TASK, TechniqueContract, training_data
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

QUICK = {
    "round_weights": {"iterations": 20},
    "factorize": {"rank": "budget", "keep": 0.9},
    "prune_heads": {"share": 0.1},
    "distill": {"student": "self", "learning_rate": 0.001},
    "lora_recovery": {"learning_rate": 0.001},
    "qat": {"learning_rate": 0.001},
    "prune_channels": {"ratio": 0.8, "multiple": 2, "importance": "l1", "learning_rate": 0.001},
}


def made(name):
    return find_technique(name).from_settings(QUICK.get(name, {}), "test")


def context(tiny_model, folder):
    return Context(samples=tiny_model.samples, scratch=folder / "scratch", progress=silent, training=training_data())


def task(**changes):
    return replace(KNOWN_TASK, **changes)


class TestDropLayers(TechniqueContract):
    name = "drop_layers"
    suited = "encoder"
    cuts = True
    most_loss = 1.0


class TestPruneHeads(TechniqueContract):
    name = "prune_heads"
    settings = QUICK["prune_heads"]
    suited = "encoder"
    cuts = True


class TestSparsify(TechniqueContract):
    name = "sparsify"


class TestFactorize(TechniqueContract):
    name = "factorize"
    settings = QUICK["factorize"]
    cuts = True


class TestShareWeights(TechniqueContract):
    name = "share_weights"
    suited = "attention"


class TestDistill(TechniqueContract):
    name = "distill"
    settings = QUICK["distill"]
    cuts = True
    most_loss = None


class TestPruneChannels(TechniqueContract):
    name = "prune_channels"
    settings = QUICK["prune_channels"]
    cuts = True
    most_loss = None


class TestLoraRecovery(TechniqueContract):
    name = "lora_recovery"
    settings = QUICK["lora_recovery"]
    cuts = True
    most_loss = None


class TestEqualize(TechniqueContract):
    name = "equalize"


class TestRoundWeights(TechniqueContract):
    name = "round_weights"
    settings = QUICK["round_weights"]


class TestSmoothActivations(TechniqueContract):
    name = "smooth_activations"
    suited = "attention"


class TestQat(TechniqueContract):
    name = "qat"
    settings = QUICK["qat"]
    cuts = True
    most_loss = None


def test_every_technique_of_the_table_is_held_to_the_contract():
    assert {cls.name for cls in TechniqueContract.__subclasses__()} >= set(registry.TECHNIQUES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "prune_channels",
            "prune_channels cannot be used on clamped.py:build: every channel of it is an output, or passes an "
            "operator that mixes channels, so none can be removed by itself.",
            id="prune_channels",
        ),
        pytest.param(
            "equalize",
            "equalize cannot be used on clamped.py:build: no channels lead from layers to layers through ReLU, "
            "additions and pooling alone, so none can be scaled without a change to what the model computes.",
            id="equalize",
        ),
        pytest.param(
            "round_weights",
            "round_weights cannot be used on clamped.py:build: it has no convolution and no linear layer with "
            "constant weights.",
            id="round_weights",
        ),
        pytest.param(
            "sparsify",
            "sparsify cannot be used on clamped.py:build: it has no convolution and no linear layer that reads "
            "4 or more channels.",
            id="sparsify",
        ),
        pytest.param(
            "share_weights",
            "share_weights cannot be used on clamped.py:build: it has no convolution and no linear layer with 2,048 "
            "weights or more.",
            id="share_weights",
        ),
        pytest.param(
            "factorize",
            "factorize cannot be used on clamped.py:build: it has no linear layer and no 1 x 1 convolution of "
            "8 or more inputs and outputs.",
            id="factorize",
        ),
        pytest.param(
            "drop_layers",
            "drop_layers cannot leave out 1 of clamped.py:build: it has 0 layers around residual "
            "additions, and at least one has to stay.",
            id="drop_layers",
        ),
        pytest.param(
            "prune_heads",
            "prune_heads cannot be used on clamped.py:build: it has no attention of several heads that can be "
            "distinguished.",
            id="prune_heads",
        ),
        pytest.param(
            "smooth_activations",
            "smooth_activations cannot be used on clamped.py:build: no linear layer with constant weights of its own "
            "reads a computed value.",
            id="smooth_activations",
        ),
    ],
)
def test_a_model_without_anything_to_change_is_refused_by_name(tiny, tmp_path, name, message):
    given = tiny("clamped")
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        made(name).run(given.model, context(given, tmp_path), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "settings", "family", "reason"),
    [
        (
            "equalize",
            {},
            "rnn",
            "it scales channels between convolutions and linear layers, and this model is recurrent",
        ),
        ("equalize", {"strength": 0}, "cnn", "strength=0; expected more than 0 and at most 1"),
        ("equalize", {"strength": 1.5}, "cnn", "strength=1.5; expected more than 0 and at most 1"),
        (
            "round_weights",
            {},
            "rnn",
            "it fits convolutions and linear layers, and nearly all weights of this model are recurrent",
        ),
        (
            "round_weights",
            {"bits": 4},
            "cnn",
            "4-bit weights share a scale in groups in every format; give group_size=32 as recipes have it",
        ),
        (
            "round_weights",
            {"iterations": 0},
            "cnn",
            "group_size=0 and iterations=0: expected at least 0 and at least 1",
        ),
        (
            "smooth_activations",
            {},
            "cnn",
            "it smooths what linear layers read, and this model is convolutional; equalize is for those",
        ),
        ("smooth_activations", {"strength": 1}, "transformer", "strength=1; expected between 0 and 1"),
        (
            "factorize",
            {},
            "rnn",
            "it factorizes convolutions and linear layers, and nearly all weights of this model are recurrent",
        ),
        (
            "share_weights",
            {},
            "rnn",
            "it changes convolutions and linear layers, and nearly all weights of this model are recurrent",
        ),
        ("smooth_activations", {"group_size": -1}, "transformer", "group_size=-1; expected at least 0"),
        ("factorize", {"keep": 1}, "cnn", "keep=1; expected more than 0 and less than 1"),
        ("factorize", {"energy": 0}, "cnn", "energy=0; expected more than 0 and less than 1"),
        ("drop_layers", {}, "cnn", "it leaves out layers of a transformer, and this model has no attention"),
        ("drop_layers", {"count": 0}, "transformer", "count=0; expected at least 1"),
        ("prune_heads", {}, "cnn", "it cuts out attention heads, and this model has no attention"),
        ("prune_heads", {"share": 1}, "transformer", "share=1; expected more than 0 and less than 1"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_reasons_are_given_before_any_work(tiny, name, settings, family, reason):
    technique = find_technique(name).from_settings(settings, "test")
    model = replace(tiny("convolutions").model, family=family)
    assert technique.why_not_usable(model, task(), find_profile("pi4", Path())) == reason


def test_a_device_that_wants_one_scale_for_a_tensor_refuses_rounding(tiny):
    profile = find_profile("pi4", Path())
    strict = replace(profile, options={"tflite": {"per_channel": False}})
    assert made("round_weights").why_not_usable(tiny("convolutions").model, task(), strict) == (
        "pi4 wants one scale for a whole tensor, and this bakes in a scale for each channel"
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trained(Technique):
    """Does what its setting says: a stand-in for third parties' techniques, honest and not."""

    name: ClassVar[str] = "trained"
    needs: ClassVar = "nothing"
    keeps_function: ClassVar[bool] = True

    what: str = "nothing"
    rate: float = 0.1
    steps: int = 3
    loud: bool = False

    def why_not(self, model, task, profile):
        return None

    def estimate(self, analysis):
        return Estimate(parameters=1, macs=1, seconds=1.0, effect="None.")

    def apply(self, model, context):
        import torch

        from edgekit.techniques.program_editing import capture_graph, open_graph, with_tensors

        name = next(iter(model.program.state_dict))
        weight = model.program.state_dict[name]
        if self.what == "in place":
            with torch.no_grad():
                weight.zero_()
            return model
        if self.what == "nan":
            return with_tensors(model, {name: torch.full_like(weight, float("nan"))})
        if self.what == "other function":
            return with_tensors(model, {name: weight * 1.5})
        if self.what == "samples":
            context.calibration()
        if self.what == "outputs":
            graph = open_graph(model)
            output = next(node for node in reversed(graph.graph.nodes) if node.op == "output")
            (result,) = output.args[0]
            with graph.graph.inserting_before(output):
                output.args = ((graph.graph.call_function(torch.ops.aten.slice.Tensor, (result, 1, 0, 9)),),)
            return capture_graph(model, graph)
        return model


@pytest.mark.parametrize(
    ("what", "message"),
    [
        pytest.param("in place", "The technique trained changed the model that it was given.", id="changes its input"),
        pytest.param(
            "nan", "The technique trained made a model whose output 0 has NaN or infinite values.", id="makes NaN"
        ),
        pytest.param(
            "outputs",
            "The technique trained changed the model's outputs: [((1, 9), 'float32')] instead of "
            "[((1, 10), 'float32')].",
            id="returns less",
        ),
        pytest.param(
            "samples",
            "A technique asked for calibration samples and declares that it needs none.",
            id="reads what it did not ask for",
        ),
    ],
)
def test_a_technique_that_breaks_its_contract_is_caught(tiny, tmp_path, what, message):
    given = tiny("convolutions")
    with pytest.raises(WorkerError, match=f"^{re.escape(message)}$"):
        Trained(what=what).run(given.model, Context(samples=None, scratch=tmp_path, progress=silent), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_technique_that_says_it_keeps_the_function_is_held_to_it(tiny, tmp_path):
    given = tiny("convolutions")
    pattern = (
        r"^The technique trained changed the float model: output 0 differs by \d\.\de[-+]\d\d of its largest value; it "
        r"declares that the function is kept to 1e-04\.$"
    )
    with pytest.raises(WorkerError, match=pattern):
        Trained(what="other function").run(
            given.model, Context(samples=None, scratch=tmp_path, progress=silent), tmp_path / "out"
        )


def test_a_technique_that_trains_needs_training_data_or_something_to_imitate_the_float_model_on(tiny):
    cls = dataclasses.make_dataclass(
        "Taught",
        [],
        bases=(Technique,),
        frozen=True,
        namespace={
            "name": "taught",
            "needs": "training",
            "keeps_function": False,
            "why_not": lambda *_: None,
            "estimate": lambda *_: None,
            "apply": lambda *_: None,
        },
    )
    model, profile = tiny("convolutions").model, find_profile("pi4", Path())
    assert cls().why_not_usable(model, task(training=None, calibration=None), profile) == (
        "it trains, and the task has neither [training] batches and loss nor calibration data to imitate the float "
        "model on; give one of them"
    )
    assert cls().why_not_usable(model, task(training=None), profile) is None
    training = Training(batches="train.py:batches", loss="train.py:loss")
    assert cls().why_not_usable(model, task(training=training), profile) is None


def test_a_missing_package_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Trained, "packages", {"no_such_package": "no-such-package"})
    message = (
        "trained needs no-such-package, which is not installed. Install it from the checkout: pip install -e '.[torch]'"
    )
    with pytest.raises(MissingDependencyError, match=f"^{re.escape(message)}$"):
        Trained().run(
            tiny("convolutions").model, Context(samples=None, scratch=tmp_path, progress=silent), tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"rat": "1"},
            'plan: trained has no setting "rat": it has what, rate, steps, loud. Did you mean "rate"?',
            id="unknown",
        ),
        pytest.param({"steps": "many"}, 'plan: trained: steps = "many" was given; expected a whole number.', id="int"),
        pytest.param({"rate": "fast"}, 'plan: trained: rate = "fast" was given; expected a number.', id="float"),
        pytest.param({"loud": "maybe"}, 'plan: trained: loud = "maybe" was given; expected true or false.', id="bool"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        Trained.from_settings(settings, "plan")


def test_settings_are_read_from_text_and_from_values():
    expected = Trained(what="x", rate=0.5, steps=7, loud=True)
    assert Trained.from_settings({"what": "x", "rate": "0.5", "steps": "7", "loud": "yes"}, "plan") == expected
    assert Trained.from_settings(expected.settings(), "plan") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "round_weights:bits=3",
            '--technique: round_weights: bits = "3" is not known: accepted are 8, 4.',
            id="choice",
        ),
        pytest.param(
            "equalize:0.5", '--technique: "0.5" is no setting: expected key=value, as in equalize:key=value.', id="bare"
        ),
        pytest.param(
            "equalize:strength=1,strength=1",
            '--technique: the setting "strength" of equalize is given twice.',
            id="two",
        ),
        pytest.param(
            "equalise",
            f'--technique "equalise" is not known: accepted are {", ".join(registry.technique_names())}. '
            'Did you mean "equalize"?',
            id="name",
        ),
    ],
)
def test_a_wrong_flag_is_explained(text, message):
    from edgekit.task.request import parse_technique

    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        parse_technique(text, "--technique")


def test_a_technique_without_settings_says_so():
    bare = dataclasses.make_dataclass("Bare", [], bases=(Technique,), namespace={"name": "bare"})
    with pytest.raises(UsageError, match=r'^plan: bare has no setting "a": it has none\.$'):
        bare.from_settings({"a": 1}, "plan")


def test_a_step_without_settings_is_its_name():
    assert str(Step(technique="equalize")) == "equalize"
