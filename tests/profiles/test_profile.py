"""Device profiles: edgekit's own hold what they promise, users' own win, wrong ones are told all their faults."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from edgekit.budget import Limit
from edgekit.errors import ProfileError
from edgekit.predict.latency_features import TERMS
from edgekit.profiles.profile import (
    FACT_TITLES,
    CpuCluster,
    DeviceProfile,
    Hardware,
    find_profile,
    list_profiles,
    read_catalogue,
    read_profile,
    shipped_folder,
)

NAMES = tuple(sorted(path.stem for path in shipped_folder().glob("*.toml")))

MINIMAL = """\
schema = 1
title = "My Board"
kind = "other"
runtimes = ["onnx"]
[hardware]
cpu = "2 x Cortex-A35 1.2 GHz"
features = ["neon"]
"""


def write(folder: Path, name: str, text: str) -> Path:
    """Writes a profile to the user's folder below `folder`."""
    path = folder / "device_profiles" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def shipped(name: str) -> DeviceProfile:
    return read_profile(shipped_folder() / f"{name}.toml", shipped=True)


def test_the_promised_devices_are_there(tmp_path: Path) -> None:
    assert tuple(profile.name for profile in list_profiles(tmp_path)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_of_a_shipped_profile_has_a_source(name: str) -> None:
    profile = shipped(name)
    assert [key for key in profile.facts if f"hardware.{key}" not in profile.sources] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_profile_limits_what_is_known_and_only_warns_about_latency_scaled_from_another_device(
    name: str,
) -> None:
    budget = shipped(name).budget
    levels = {limit.name: limit.level for limit in budget.limits}
    # Memory under Core ML can be measured by nothing but Apple's own runtime.
    memory = "warn" if shipped(name).runtimes[0] == "coreml" else "error"
    found = {cost: levels.get(cost) for cost in ("size", "memory", "accuracy_drop")}
    assert found == {"size": "error", "memory": memory, "accuracy_drop": "error"}
    assert levels["latency"] == ("warn" if shipped(name).kind in ("phone", "watch") else "error")
    assert "parity" not in levels
    assert {limit.source for limit in budget.limits} == {"profile"}


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_of_a_shipped_profile_has_a_comment_that_says_why(name: str) -> None:
    text = (shipped_folder() / f"{name}.toml").read_text()
    lines = text.split("[budget]\n")[1].split("\n\n")[0].splitlines()
    unexplained = [
        line for above, line in zip(["", *lines], lines, strict=False) if not line.startswith("#") and above == ""
    ]
    assert unexplained == []


@pytest.mark.parametrize("name", NAMES)
def test_phones_and_watches_limit_the_download_too(name: str) -> None:
    profile = shipped(name)
    assert (profile.budget.get("download") is not None) == (profile.kind in ("phone", "watch"))


def test_no_two_shipped_profiles_share_a_name(tmp_path: Path) -> None:
    counts = Counter(
        plain
        for profile in list_profiles(tmp_path)
        for plain in {re.sub(r"[^a-z0-9+]", "", name.lower()) for name in profile.names}
    )
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("jetson")])
def test_jetsons_ask_for_symmetric_onnx_first(name: str) -> None:
    profile = shipped(name)
    assert profile.runtimes[0] == "onnx"
    assert profile.options["onnx"] == {"symmetric_activations": True, "accelerator": "tensorrt"}


@pytest.mark.parametrize("name", ["iphone15", "iphone-se3", "apple-watch-s9"])
def test_apples_devices_prefer_core_ml_with_integer_activations(name: str) -> None:
    profile = shipped(name)
    assert profile.runtimes[0] == "coreml"
    assert profile.options["coreml"]["minimum_deployment_target"] in ("iOS17", "watchOS10")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pi4", "pi4"),
        ("rpi4", "pi4"),
        ("raspberry pi 4", "pi4"),
        ("Raspberry Pi 4 Model B (4 GB)", "pi4"),
        ("Raspberry-Pi-4", "pi4"),
        ("Pixel 8", "pixel8"),
        ("PIXEL8", "pixel8"),
        ("google pixel 8", "pixel8"),
        ("iphone se", "iphone-se3"),
        ("iPhone 15", "iphone15"),
        ("galaxy s24", "galaxy-s24"),
        ("orin nano", "jetson-orin-nano"),
        ("Jetson AGX Orin", "jetson-agx-orin"),
        ("pi zero 2 w", "pi-zero2w"),
        ("raspberry pi 3b+", "pi3"),
    ],
    ids=str,
)
def test_a_device_is_found_by_what_people_type(tmp_path: Path, text: str, name: str) -> None:
    assert find_profile(text, tmp_path).name == name


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("pi44", "Did you mean pi4? "),
        ("picsel 8", "Did you mean pixel8? "),
        ("jetson orin", "Did you mean jetson-agx-orin, jetson-orin-nano or jetson-xavier-nx? "),
        ("toaster", ""),
    ],
    ids=str,
)
def test_an_unknown_device_gets_the_nearest_names(tmp_path: Path, text: str, guess: str) -> None:
    with pytest.raises(ProfileError) as raised:
        find_profile(text, tmp_path)
    assert raised.value.message == (
        f'No device is called "{text}". {guess}See them all with: edgekit devices\n'
        "For a device of your own, give the path of a profile, or put it into ./device_profiles/."
    )


def test_a_profile_holds_what_its_file_says() -> None:
    profile = shipped("pi4")
    assert profile.hardware == Hardware(
        cpu=(CpuCluster(cores=4, core="Cortex-A72", clock_ghz=1.8),),
        features=("neon",),
        soc="Broadcom BCM2711",
        gpu="VideoCore VI 500 MHz",
        ram_bytes=4_000_000_000,
        memcpy_bandwidth_bytes_per_s=2.33e9,
    )
    assert profile.budget.get("latency") == Limit(name="latency", value=50.0, source="profile")
    assert profile.facts["memcpy_bandwidth"] == "2.33 GB/s"
    assert tuple(profile.facts) == tuple(key for key in FACT_TITLES if key in profile.facts)
    assert profile.runtimes == ("tflite", "onnx", "executorch")
    assert {runtime: tuple(tables) for runtime, tables in profile.latency_model.items()} == dict.fromkeys(
        ("tflite", "onnx", "executorch"), ("fp32", "int8_static")
    )
    assert profile.shipped


def test_clusters_are_read_with_and_without_a_clock() -> None:
    assert shipped("pixel8").hardware.cpu == (
        CpuCluster(cores=1, core="Cortex-X3", clock_ghz=2.91),
        CpuCluster(cores=4, core="Cortex-A715", clock_ghz=2.37),
        CpuCluster(cores=4, core="Cortex-A510", clock_ghz=1.7),
    )
    assert shipped("apple-watch-s9").hardware.cpu == (CpuCluster(cores=2, core="Sawtooth", clock_ghz=None),)


def test_a_profile_of_the_users_is_found_by_name_and_listed_first(tmp_path: Path) -> None:
    path = write(tmp_path, "my-board", MINIMAL)
    profile = find_profile("my board", tmp_path)
    assert (profile.name, profile.path, profile.shipped, profile.replaces_shipped) == ("my-board", path, False, False)
    assert profile.budget.limits == ()
    assert list_profiles(tmp_path)[0].name == "my-board"
    assert len(list_profiles(tmp_path)) == len(NAMES) + 1


def test_a_profile_of_the_users_takes_the_place_of_ours(tmp_path: Path) -> None:
    write(tmp_path, "pi4", MINIMAL)
    profile = find_profile("pi4", tmp_path)
    assert (profile.title, profile.shipped, profile.replaces_shipped) == ("My Board", False, True)
    assert len(list_profiles(tmp_path)) == len(NAMES)


def test_an_alias_of_the_users_wins_over_ours(tmp_path: Path) -> None:
    write(tmp_path, "my-board", MINIMAL.replace('kind = "other"', 'kind = "other"\naliases = ["Raspberry Pi 4"]'))
    assert find_profile("raspberry pi 4", tmp_path).name == "my-board"
    assert find_profile("pi4", tmp_path).name == "pi4"


def test_an_alias_that_two_of_the_users_profiles_have_is_ambiguous(tmp_path: Path) -> None:
    write(tmp_path, "one", MINIMAL)
    write(tmp_path, "two", MINIMAL)
    with pytest.raises(ProfileError) as raised:
        find_profile("My Board", tmp_path)
    assert raised.value.message == (
        '"My Board" means one and two. Give one of these names, or take the alias out of one of their files.'
    )


def test_a_profile_is_read_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(MINIMAL)
    assert find_profile("board.toml", tmp_path).name == "board"
    assert find_profile(str(tmp_path / "board.toml"), Path("/")).title == "My Board"


def test_the_shipped_folder_is_not_taken_for_a_users_own() -> None:
    checkout = shipped_folder().resolve().parent
    assert all(profile.shipped for profile in list_profiles(checkout))


RATES = "[latency_model.onnx.fp32.ns]\n" + "".join(f"{term} = 0.5\n" for term in TERMS)
LATENCY = """\
[latency_model.onnx.fp32]
unit = "cpu"
threads = 4
timed = "onnxruntime 1.20"
rows = 12
models = 6
error = 0.1
spread = 0.2
untested = ["recurrent_macs"]
sources = ["https://example.org"]
"""


def test_latency_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL + LATENCY + RATES)
    table = read_profile(path).latency_model["onnx"]["fp32"]
    assert (table["unit"], table["threads"], table["rows"], table["error"], table["spread"]) == ("cpu", 4, 12, 0.1, 0.2)
    assert table["ns"] == dict.fromkeys(TERMS, 0.5)


def test_a_wrong_latency_table_is_reported_all_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    wrong = LATENCY.replace('"cpu"', '"cup"').replace("spread = 0.2", "spread = 0").replace("rows = 12", "rows = -1")
    path.write_text(MINIMAL + wrong + RATES.replace("dense_macs = 0.5", "dense_macs = -1", 1) + "extra = 1\n")
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert raised.value.message.splitlines()[1:-1] == [
        '  latency_model.onnx.fp32.unit: "cup" was given; expected what runs the model: cpu, gpu, npu, neural_engine',
        "  latency_model.onnx.fp32.rows: -1 was given; expected number of published rows of this device, 0 or more",
        (
            "  latency_model.onnx.fp32.spread: 0 was given; expected standard deviation of the natural logarithm of "
            "published / predicted, above 0, such as 0.15"
        ),
        (
            "  latency_model.onnx.fp32.ns.dense_macs: -1 was given; expected nanoseconds for one unit, 0 or more "
            "(predict/latency_features.py says of what)"
        ),
        f"  latency_model.onnx.fp32.ns.extra: unknown key; accepted are {', '.join(TERMS)}",
    ]


def test_a_latency_table_of_a_precision_without_rates_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL + (LATENCY + RATES).replace("fp32", "int4"))
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert raised.value.message.splitlines()[1] == (
        "  latency_model.onnx.int4: unknown key; accepted are fp32, fp16, int8_static"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_runtime_of_a_shipped_profile_has_a_latency_model(name: str) -> None:
    profile = shipped(name)
    assert set(profile.latency_model) == set(profile.runtimes)


WRONG = """\
title = 4
alias = ["x"]
kind = "fridge"
runtimes = ["tflight", "onnx"]
[hardware]
cpu = "quad core"
ram = 4
ram_free = "4 parsecs"
features = ["neon", "mmx"]
memory_bandwidth = "25 GBps"
ai_peak = "fast"
[budget]
size = "6"
latency = { limit = "3 ms", levl = "warn" }
[export.coreml]
accelerator = "neural_engin"
minimum_deployment_target = "iOS99"
symetric_activations = true
[sources]
"hardware.gpu" = "x"
"hardware.cpu" = ""
"""

FAULTS = """\
  schema: missing; expected 1, the only schema that this edgekit reads
  title: 4 was given; expected the marketing name, such as "Raspberry Pi 4 Model B (4 GB)"
  kind: "fridge" was given; expected one of phone, watch, raspberry_pi, jetson, microcontroller, other
  runtimes[0]: "tflight" is not a runtime (did you mean "tflite"?); accepted are tflite, onnx, executorch, coreml
  hardware.cpu: "quad core" was given; expected the core clusters, such as "4 x Cortex-A72 1.5 GHz" or "2 x Cortex-X1 \
2.8 GHz + 4 x Cortex-A55"
  hardware.features[1]: "mmx" was given; expected a list of CPU features out of neon, dotprod, fp16, i8mm, bf16, sve2; \
[] where there are none
  hardware.ai_peak: "fast" was given; expected a peak rate, such as "15.8 TOPS" or "472 GFLOPS"
  hardware.ram: 4 was given; expected text with a unit, such as "4 GB" or "512 MiB"
  hardware.ram_free: the amount "4 parsecs" has the unit "parsecs": accepted are "800 kB", "6 MB" or "64 MiB".
  hardware.memory_bandwidth: "25 GBps" was given; expected a rate, such as "25.6 GB/s" or "800 MB/s"
  export.coreml.accelerator: "neural_engin" is no accelerator that a format has rules about (did you mean \
"neural_engine"?); accepted are hexagon, neural_engine, nnapi, tensorrt
  export.coreml.minimum_deployment_target: "iOS99" was given; expected the oldest system that must load it: "iOS15" to \
"iOS18", "iOS26", "watchOS8" to "watchOS11"
  export.coreml.symetric_activations: unknown key (did you mean "symmetric_activations"?); accepted are per_channel, \
symmetric_activations, accelerator, minimum_deployment_target
  sources.hardware.cpu: "" was given; expected a table from a key's path to where its value comes from: \
"hardware.cpu" = "https://..."
  alias: unknown key (did you mean "aliases"?); accepted are schema, title, description, aliases, kind, runtimes, \
hardware, budget, export, latency_model, sources
  budget.size: size "6" has no unit: write it as "800 kB", "6 MB" or "64 MiB".
  budget.latency: "latency" must be a quantity, or a table with "limit" and, if you like, "level"; it has limit, levl.
  sources."hardware.gpu": the file has no hardware.gpu; name the key that this is the source of, such as "hardware.cpu"
"""


def test_a_wrong_profile_is_reported_all_its_faults_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "board", WRONG)
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    count = len(FAULTS.splitlines())
    assert raised.value.message == (
        f"{path} has {count} faults:\n{FAULTS}Compare with a profile that works: {shipped_folder() / 'pi4.toml'}"
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("schema = 1", "schema = 2", "schema: 2 was given; expected 1, the only schema that this edgekit reads"),
        (
            'runtimes = ["onnx"]',
            "runtimes = []",
            'runtimes: a list was given; expected a list of runtimes, the preferred first, such as ["tflite", "onnx"]',
        ),
        (
            'runtimes = ["onnx"]',
            'runtimes = "onnx"',
            'runtimes: "onnx" was given; expected a list of runtimes, the preferred first, such as ["tflite", "onnx"]',
        ),
        ("[hardware]", "[hardwear]", None),
        (
            'title = "My Board"',
            'title = "My Board"\nbudget = "6 MB"',
            'budget: "6 MB" was given; expected a table of limits, such as size = "6 MB"',
        ),
        (
            'title = "My Board"',
            'title = "  "',
            'title: "  " was given; expected the marketing name, such as "Raspberry Pi 4 Model B (4 GB)"',
        ),
        (
            'cpu = "2 x Cortex-A35 1.2 GHz"',
            "cpu = 2",
            (
                'hardware.cpu: 2 was given; expected the core clusters, such as "4 x Cortex-A72 1.5 GHz" or '
                '"2 x Cortex-X1 2.8 GHz + 4 x Cortex-A55"'
            ),
        ),
        (
            'cpu = "2 x Cortex-A35 1.2 GHz"',
            'cpu = "0 x Cortex-A35"',
            (
                'hardware.cpu: "0 x Cortex-A35" was given; expected the core clusters, '
                'such as "4 x Cortex-A72 1.5 GHz" or "2 x Cortex-X1 2.8 GHz + 4 x Cortex-A55"'
            ),
        ),
    ],
    ids=["schema", "no runtime", "runtime as text", "no hardware", "budget as text", "blank title", "cpu", "no core"],
)
def test_a_single_fault_is_reported_to_the_end(tmp_path: Path, old: str, new: str, fault: str | None) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    head, *faults, advice = raised.value.message.splitlines()
    assert advice == f"Compare with a profile that works: {shipped_folder() / 'pi4.toml'}"
    if fault is None:
        assert head == f"{path} has 2 faults:"
        assert faults == [
            '  hardware: missing; expected a table with at least "cpu" and "features"',
            (
                '  hardwear: unknown key (did you mean "hardware"?); accepted are schema, title, description, aliases, '
                "kind, runtimes, hardware, budget, export, latency_model, sources"
            ),
        ]
    else:
        assert head == f"{path} has 1 fault:"
        assert faults == [f"  {fault}"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        find_profile("board.toml", tmp_path)
    assert raised.value.message == (
        f"{tmp_path / 'board.toml'}: no such file. "
        "Give the path of a device profile, or a name that edgekit devices lists."
    )


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "board.toml").mkdir()
    with pytest.raises(ProfileError) as raised:
        find_profile("board.toml", tmp_path)
    assert raised.value.message == (f"{tmp_path / 'board.toml'} is a folder; expected a file.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"title = ",
            r"is not valid TOML: Invalid value \(at (line 1, column 9|end of document)\)\. Mend that place\.",
        ),
        (b'title = "\xff"', r"is not text: the byte at position 9 is not UTF-8\. Save it as UTF-8\."),
    ],
    ids=["TOML", "UTF-8"],
)
def test_a_file_that_is_no_toml_is_reported_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(content)
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert re.fullmatch(f"{re.escape(str(path))} {message}", raised.value.message)


def test_a_wrong_file_does_not_hide_the_other_profiles(tmp_path: Path) -> None:
    path = write(tmp_path, "board", "title = 4")
    write(tmp_path, "good", MINIMAL)
    catalogue = read_catalogue(tmp_path)
    assert [profile.name for profile in catalogue.profiles] == ["good", *NAMES]
    assert [fault.splitlines()[0] for fault in catalogue.faults] == [f"{path} has 5 faults:"]
    with pytest.raises(ProfileError) as raised:
        list_profiles(tmp_path)
    assert raised.value.message == catalogue.faults[0]
