"""Every output of the gate against what its specification asks for, in our own words."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgekit.budget import RECIPE_SOURCE, Limit
from edgekit.checks import judge
from edgekit.cli.app import main

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = {  # the parts of OASIS SARIF 2.1.0 that a viewer reads: sections 3.13, 3.14, 3.19, 3.27, 3.29, 3.30, 3.49
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "automationDetails": {"type": "object", "required": ["id"]},
                    "originalUriBaseIds": {
                        "additionalProperties": {"required": ["uri"], "properties": {"uri": {"pattern": "^file:.*/$"}}}
                    },
                    "invocations": {
                        "items": {
                            "required": ["executionSuccessful"],
                            "properties": {"executionSuccessful": {"type": "boolean"}, "exitCode": {"type": "integer"}},
                        }
                    },
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {
                                                "shortDescription": TEXT,
                                                "fullDescription": TEXT,
                                                "defaultConfiguration": {"properties": {"level": LEVEL}},
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "kind": {"const": "fail"},
                                "level": LEVEL,
                                "message": TEXT,
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "locations": {
                                    "minItems": 1,
                                    "maxItems": 1,
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],
                                                        "properties": {"uri": {"pattern": "^[^/\\\\][^ \\\\]*$"}},
                                                    },
                                                    "region": {
                                                        "required": ["startLine"],
                                                        "properties": {"startLine": {"type": "integer", "minimum": 1}},
                                                    },
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}

NUMBER = {"type": "string", "pattern": "^[0-9]+$"}
OUTCOME = {
    "type": "object",
    "required": ["message", "type"],
    "additionalProperties": False,
    "properties": {"message": {"type": "string", "minLength": 1}, "type": {"type": "string"}, "text": {}},
}
CASE = {
    "type": "object",
    "required": ["name", "classname", "time"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "classname": {"type": "string"},
        "time": {"type": "string"},
        "failure": {"type": "array", "maxItems": 1, "items": OUTCOME},
        "error": {"type": "array", "maxItems": 1, "items": OUTCOME},
        "skipped": {"type": "array", "maxItems": 1, "items": OUTCOME},
        "system-out": {"type": "array", "items": {"required": ["text"]}},
    },
}
COUNTS = {"name": {"type": "string"}, "tests": NUMBER, "failures": NUMBER, "errors": NUMBER, "skipped": NUMBER}
JUNIT = {  # testsuites/testsuite/testcase as the common readers of JUnit's XML take them
    "type": "object",
    "required": ["name", "testsuite", "tests", "failures", "errors", "skipped"],
    "additionalProperties": False,
    "properties": {
        **COUNTS,
        "testsuite": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "tests", "failures", "errors", "skipped", "testcase"],
                "additionalProperties": False,
                "properties": {**COUNTS, "testcase": {"type": "array", "minItems": 1, "items": CASE}},
            },
        },
    },
}

GATE = {
    "type": "object",
    "required": ["schema_version", "command", "device", "passed", "checks", "artifacts", "failures", "baseline"],
    "properties": {
        "schema_version": {"const": 1},
        "command": {"const": "gate"},
        "passed": {"type": "boolean"},
        "failures": {"type": "array", "items": {"type": "string"}},
        "checks": {
            "minItems": 1,
            "items": {
                "required": ["name", "verdict", "value", "limit", "unit", "level", "limit_from"],
                "properties": {"verdict": {"enum": ["pass", "fail", "inconclusive", "not_run"]}},
            },
        },
    },
}


def as_json(element: ET.Element) -> dict[str, Any]:
    """Returns an element's attributes, and its children as lists by tag."""
    data: dict[str, Any] = dict(element.attrib)
    for child in element:
        data.setdefault(child.tag, []).append(as_json(child))
    if element.text and element.text.strip():
        data["text"] = element.text
    return data


def gate(*arguments: str) -> int:
    return main(["gate", "out", "-d", "pixel8", *arguments])


@pytest.fixture
def junit(project: Path) -> dict[str, Any]:
    assert gate("--junit", "ci/junit.xml", "-q") == 1
    return as_json(ET.fromstring((project / "ci" / "junit.xml").read_text()))


@pytest.fixture
def sarif(project: Path) -> dict[str, Any]:
    assert gate("--sarif", "edgekit.sarif", "-q") == 1
    data: dict[str, Any] = json.loads((project / "edgekit.sarif").read_text())
    return data


def test_junit_has_the_form_that_readers_take(junit: dict[str, Any]) -> None:
    jsonschema.validate(junit, JUNIT)


def test_junit_counts_what_it_holds(junit: dict[str, Any]) -> None:
    (suite,) = junit["testsuite"]
    kinds = [key for case in suite["testcase"] for key in ("failure", "error", "skipped") if key in case]
    assert (suite["tests"], suite["failures"], suite["errors"], suite["skipped"]) == ("7", "1", "0", "4")
    assert (kinds.count("failure"), kinds.count("error"), kinds.count("skipped")) == (1, 0, 4)
    assert {key: junit[key] for key in ("tests", "failures", "errors", "skipped")} == {
        key: suite[key] for key in ("tests", "failures", "errors", "skipped")
    }


def test_junit_says_what_was_exceeded_by_how_much_who_says_so_and_what_to_try(junit: dict[str, Any]) -> None:
    case = next(case for case in junit["testsuite"][0]["testcase"] if case["name"] == "size")
    assert case["failure"] == [
        {
            "message": "size 2.1 kB exceeds 2 kB by 100 B (limit from edgekit.toml [budget]).",
            "type": "fail",
            "text": "size 2.1 kB exceeds 2 kB by 100 B (limit from edgekit.toml [budget]). Try fewer bits or a smaller "
            "model; edgekit gate out -d pixel8 --why shows the layers that take most.",
        }
    ]


def test_junit_skips_what_only_warns_and_fails_it_under_strict(project: Path) -> None:
    def kind(name: str) -> str:
        root = ET.fromstring((project / "j.xml").read_text())
        case = next(case for case in root.iter("testcase") if case.get("name") == name)
        return case[0].tag

    gate("--junit", "j.xml", "-q")
    assert [kind(name) for name in ("size", "accuracy_drop", "latency", "memory")] == [
        *("failure", "skipped", "skipped", "system-out")
    ]
    gate("--junit", "j.xml", "-q", "--strict")
    assert [kind(name) for name in ("size", "accuracy_drop", "latency", "memory")] == [
        *("failure", "failure", "error", "system-out")
    ]


def test_sarif_has_the_form_of_2_1_0(sarif: dict[str, Any]) -> None:
    jsonschema.validate(sarif, SARIF)
    rules = [rule["id"] for rule in sarif["runs"][0]["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in sarif["runs"][0]["results"])


@pytest.mark.parametrize(
    ("rule", "uri", "line", "level"),
    [
        pytest.param("size", "edgekit.toml", 5, "error", id="a limit of the task"),
        pytest.param("accuracy_drop", "edgekit.toml", 6, "warning", id="an inline table"),
        pytest.param("latency", "edgekit.toml", 2, "warning", id="a limit of the profile"),
        pytest.param("size_change", "edgekit.toml", 9, "warning", id="a limit on regression"),
    ],
)
def test_sarif_points_at_the_line_of_the_limit(
    sarif: dict[str, Any], rule: str, uri: str, line: int, level: str
) -> None:
    result = next(result for result in sarif["runs"][0]["results"] if result["ruleId"] == f"edgekit/{rule}")
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"], result["level"]) == (uri, line, level)
    text = (Path.cwd() / uri).read_text().splitlines()[line - 1]
    # A shipped profile lies outside of the checkout: the model is named in it.
    assert text.startswith("source") if line == 2 else text.startswith(rule.removesuffix("_change"))


def test_without_a_task_file_sarif_points_at_the_model_or_nowhere(project: Path) -> None:
    (project / "edgekit.toml").unlink()

    def found(*arguments: str) -> tuple[set[str], list[str]]:
        assert gate("--sarif", "s.sarif", "-q", *arguments) == 1
        run = json.loads((project / "s.sarif").read_text())["runs"][0]
        places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
        messages_seen = [item["message"]["text"] for item in run["invocations"][0]["toolExecutionNotifications"]]
        return {f"{place['artifactLocation']['uri']}:{place['region']['startLine']}" for place in places}, messages_seen

    nowhere, messages_seen = found("--max-size", "2 kB")
    assert nowhere == set()
    assert messages_seen[0].startswith("tflite int8-static: size 2.1 kB exceeds 2 kB by 100 B (limit from --max-size).")
    (project / "net.py").write_text("def build(): ...\n")
    assert found("--max-size", "2 kB", "-m", "net.py:build") == ({"net.py:1"}, [])


def test_a_finding_keeps_its_fingerprint_when_its_figure_changes(project: Path, make_export: Any) -> None:
    def fingerprint() -> str:
        gate("--sarif", "s.sarif", "-q")
        results = json.loads((project / "s.sarif").read_text())["runs"][0]["results"]
        found: str = next(r for r in results if r["ruleId"] == "edgekit/size")["partialFingerprints"][
            "edgekitBudget/v1"
        ]
        return found

    before = fingerprint()
    make_export(project / "out", size=2200)
    assert fingerprint() == before


def test_github_gets_annotations_and_a_summary(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project / "summary.md"))
    (project / "summary.md").write_text("Before.\n")
    assert gate("--github", "-q") == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == (
        "::error file=edgekit.toml,line=5,title=edgekit tflite int8-static%3A size::size 2.1 kB exceeds 2 kB by 100 B "
        "(limit from edgekit.toml [budget]). Try fewer bits or a smaller model; edgekit gate out "
        "-d pixel8 --why shows the layers "
        "that take most."
    )
    assert shown.err == ""
    summary = (project / "summary.md").read_text()
    assert summary.startswith("Before.\n### ❌ edgekit: artifact on pixel8\n")


def test_a_percent_sign_and_line_breaks_survive_a_workflow_command(project: Path) -> None:
    from edgekit.gating.outputs.findings import Finding
    from edgekit.gating.outputs.github_annotations import annotation_lines
    from edgekit.gating.outputs.limit_location import FileLine

    finding = Finding(
        rule="size",
        title="a: b, c",
        runtime="tflite",
        severity="warning",
        verdict="fail",
        shown_as="warn",
        sentence="5 %\nmore",
        place=FileLine(path=project / "edgekit.toml", line=2),
    )
    assert annotation_lines([finding], project) == [
        "::warning file=edgekit.toml,line=2,title=edgekit a%3A b%2C c::5 %25%0Amore."
    ]


def test_without_a_summary_file_github_output_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    gate("--github", "-q")
    assert capsys.readouterr().err == (
        "edgekit: GITHUB_STEP_SUMMARY is not set, so there is no job summary to write to.\n"
    )


def test_with_json_stdout_holds_nothing_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    assert gate("--github", "--json") == 1
    shown = capsys.readouterr()
    jsonschema.validate(json.loads(shown.out), GATE)
    assert shown.err.startswith("::error file=edgekit.toml,line=5")


def test_markdown_is_a_table_with_the_change_against_the_baseline(
    project: Path, make_export: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_export(project / "base", size=2000, seed=1)
    assert main(["baseline", "set", "base", "--no-color"]) == 0
    capsys.readouterr()
    assert gate("--markdown", "-") == 1
    assert capsys.readouterr().out == (
        "### ❌ edgekit: artifact on pixel8\n"
        "\n"
        "- **error**: tflite int8-static: size 2.1 kB exceeds 2 kB by 100 B (limit from edgekit.toml \\[budget\\]). "
        "Try fewer bits or a smaller model; edgekit gate out -d pixel8 --why shows the layers that take most.\n"
        "- warning: tflite int8-static: accuracy drop 5.00 pp exceeds 0.50 pp by 4.50 pp (limit from edgekit.toml "
        "\\[budget\\]). 400. Try more calibration data like the evaluation's, or an export with "
        "--precision int8-dynamic or fp16.\n"
        "- warning: tflite int8-static: latency was not measured: Nothing measures it yet. Measure it there with "
        "TFLite's benchmark\\_model, built for its processor: edgekit bench out/net-int8-static.tflite --on adb "
        "--benchmark-model benchmark\\_model -d pixel8 -o bench-pixel8-tflite.json. Then judge it: edgekit gate out "
        "-d pixel8 --measurements bench-pixel8-tflite.json\n"
        "- warning: tflite int8-static: accuracy change +0.00 pp (band -1.63 pp to +1.63 pp) straddles -0.50 pp "
        "(limit from edgekit.toml \\[regression\\]). top1 95.00 now, 95.00 in the baseline, on 400 items: 0 lost, "
        "0 won; the smallest loss that 400 items can show is 1.8 pp. More evaluation data narrows the band; nothing "
        "has been shown to be worse.\n"
        "\n"
        "**tflite int8-static**\n"
        "\n"
        "|  | check | found | change | limit | set by |\n"
        "| --- | --- | ---: | ---: | ---: | --- |\n"
        "| **FAIL** | size | 2.1 kB | +5 % | <= 2 kB | edgekit.toml \\[budget\\] |\n"
        "| warn | accuracy drop | 5.00 pp | +0.00 pp | <= 0.50 pp | edgekit.toml \\[budget\\] |\n"
        "| not measured | latency | not measured |  | <= 33 ms | profile |\n"
        "| inconclusive | accuracy change | +0.00 pp |  | >= -0.50 pp | edgekit.toml \\[regression\\] |\n"
        "| pass | download | 2.1 kB | +4.99 % | <= 20 MB | profile |\n"
        "| pass | peak memory | 500 kB | +0 % | <= 1 MB | edgekit.toml \\[devices.pixel8\\] |\n"
        "| pass | size change | +5 % |  | <= +5 % | edgekit.toml \\[regression\\] |\n"
        "\n"
        "Changes are against `edgekit-baseline.json`.\n"
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param("--junit", "--junit out cannot be written: Is a directory. Name another file.", id="junit"),
        pytest.param("--sarif", "--sarif out cannot be written: Is a directory. Name another file.", id="sarif"),
        pytest.param(
            "--markdown", "--markdown out cannot be written: Is a directory. Name another file.", id="markdown"
        ),
    ],
)
def test_a_file_that_cannot_be_written_is_the_machines_fault(
    project: Path, flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del project
    assert gate(flag, "out") == 3
    assert capsys.readouterr().err == f"edgekit: {message}\n"


def test_a_summary_that_cannot_be_written_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project / "out"))
    assert gate("--github", "-q") == 3
    assert capsys.readouterr().err == (
        f"edgekit: {project / 'out'}: the job summary cannot be written: Is a directory. Unset GITHUB_STEP_SUMMARY, "
        "or leave --github out.\n"
    )


def test_a_failed_conversion_is_in_every_output(project: Path, make_export: Any) -> None:
    make_export(project / "out", failed=True)
    assert gate("--junit", "j.xml", "--sarif", "s.sarif", "--markdown", "m.md", "-q") == 1
    junit = ET.fromstring((project / "j.xml").read_text())
    error = junit.find("testsuite[@name='onnx']/testcase[@name='conversion']/error")
    assert error is not None
    assert error.get("message") == "No kernel for fft."
    sarif = json.loads((project / "s.sarif").read_text())
    assert sarif["runs"][0]["results"][0]["message"]["text"] == "onnx fp32: No kernel for fft."
    assert "- **error**: onnx fp32: No kernel for fft.\n" in (project / "m.md").read_text()


def test_operators_that_run_otherwise_than_requested_are_named_in_every_output(
    project: Path, make_export: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    limit = Limit(name="integer_coverage", value=100.0, source=RECIPE_SOURCE)
    check = judge("integer_coverage", 93.0, limit, runtime="tflite", detail="In float: stem (CONV_2D).")
    make_export(project / "out", size=2100, more=(check,))
    assert gate("--junit", "j.xml", "--sarif", "s.sarif", "--markdown", "m.md", "--github", "--why") == 1
    reported = "integer coverage 93 % is below 100 % by 7.00 pp (limit from recipe)"
    out = capsys.readouterr().out
    assert f"FAIL tflite: {reported}. In float: stem (CONV_2D). Try a precision" in out
    assert f"tflite int8-static: {reported}. In float: stem (CONV_2D)." in out
    assert "::error" in out
    for name in ("j.xml", "s.sarif", "m.md"):
        assert f"{reported}. In float: stem (CONV" in (project / name).read_text()  # Markdown escapes what follows


def test_a_report_without_limits_does_not_pass_in_junit() -> None:
    from edgekit.gating.outputs.junit_file import junit_xml

    root = ET.fromstring(junit_xml([], device="pixel8"))
    jsonschema.validate(as_json(root), JUNIT)
    error = root.find("testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == "No check has a limit: nothing was judged."


def test_what_fails_only_under_strict_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    assert gate("-q", "--strict") == 1
    assert "\nwarn (--strict) tflite: accuracy drop 5.00 pp exceeds 0.50 pp" in capsys.readouterr().out


def test_the_person_reads_what_to_try(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    assert gate("-q") == 1
    assert capsys.readouterr().out == (
        "FAIL tflite: size 2.1 kB exceeds 2 kB by 100 B (limit from edgekit.toml [budget]). Try fewer bits or a "
        "smaller model; edgekit gate out -d pixel8 --why shows the layers that take most.\n"
        "warn tflite: accuracy drop 5.00 pp exceeds 0.50 pp by 4.50 pp (limit from edgekit.toml [budget]). "
        "Try more calibration data like the evaluation's, or an export with --precision int8-dynamic or fp16.\n"
        "not measured (warning) tflite: latency was not measured: Nothing measures it yet. Measure it there with "
        "TFLite's benchmark_model, built for its processor: edgekit bench out/net-int8-static.tflite --on adb "
        "--benchmark-model benchmark_model -d pixel8 -o bench-pixel8-tflite.json. Then judge it: edgekit gate out "
        "-d pixel8 --measurements bench-pixel8-tflite.json\n"
        "not measured (warning) tflite: size change was not measured: There is no baseline. Set one with: "
        "edgekit baseline set out\n"
        "not measured (warning) tflite: accuracy change was not measured: There is no baseline. Set one with: "
        "edgekit baseline set out\n"
        "FAIL pixel8\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--why", "--json"],
            "--why prints tables, and stdout is taken: leave --json or --markdown - out.",
            id="why beside JSON",
        ),
        pytest.param(
            ["--metric", "top1"],
            "--metric has no effect on the folder out: its report holds what was measured. Give one artifact, "
            "export again, or run the artifacts again with --remeasure.",
            id="a metric for a folder",
        ),
    ],
)
def test_a_flag_that_could_do_nothing_is_refused(
    project: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del project
    assert gate(*arguments) == 2
    assert capsys.readouterr().err == f"edgekit: {message}\n"


def test_a_gate_without_an_export_writes_its_files_and_says_so(project: Path) -> None:
    (project / "out" / "report.json").unlink()
    assert gate("--junit", "j.xml", "--sarif", "s.sarif", "--markdown", "m.md", "-q") == 2
    reported = "out: no report.json there. Give the folder that edgekit export wrote, or an artifact."
    junit = ET.fromstring((project / "j.xml").read_text())
    jsonschema.validate(as_json(junit), JUNIT)
    error = junit.find("testsuite[@name='gate']/testcase[@name='verdict']/error")
    assert error is not None
    assert error.get("message") == f"There is no verdict: {reported}"
    sarif = json.loads((project / "s.sarif").read_text())
    (found,) = sarif["runs"][0]["results"]
    assert found["message"]["text"] == f"gate: There is no verdict: {reported}"
    assert found["ruleId"] == "edgekit/no_verdict"
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "edgekit.toml"
    assert (project / "m.md").read_text().startswith("### ❌ edgekit: no verdict on pixel8\n")


def test_a_table_of_what_is_well_is_folded_away(project: Path, make_export: Callable[..., Path]) -> None:
    make_export(project / "out", size=1900, wrong=0)
    (project / "edgekit.toml").write_text('[model]\nsource = "net.onnx"\n[budget]\nsize = "2 kB"\n')
    gate("--markdown", "m.md", "-q", "--max-memory", "1 MB", "--max-latency", "1 s")
    assert "<details>" not in (project / "m.md").read_text()  # the latency was not measured
    make_export(project / "out", size=1900, wrong=0, more=(judge("latency", 1.0, None, runtime="tflite"),))
    assert gate("--markdown", "m.md", "-q", "--max-memory", "1 MB") == 0
    text = (project / "m.md").read_text()
    assert text.startswith("### ✅ edgekit: artifact on pixel8\n\n<details>\n<summary>All is well: ")
    assert text.endswith("\n</details>\n")


def test_the_table_shows_the_worst_first_and_changes_from_the_base_branch(
    project: Path, make_export: Callable[..., Path]
) -> None:
    make_export(project / "old", size=1800)
    assert main(["baseline", "set", "old", "-o", "base.json"]) == 0
    assert main(["baseline", "set", "old"]) == 0
    assert main(["baseline", "set", "out", "--reason", "a new <head>"]) == 0
    gate("--markdown", "m.md", "-q", "--base-baseline", "base.json")
    text = (project / "m.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert [row.split(" | ")[0] for row in rows] == sorted(
        (row.split(" | ")[0] for row in rows),
        key=["| **FAIL**", "| warn", "| not measured", "| inconclusive", "| pass", "| "].index,
    )
    assert "| size | 2.1 kB | +16.7 % |" in text
    assert "tflite size 1.8 kB → 2.1 kB" in text
    assert r"(a new \<head\>)" in text
    assert "Changes are against `base.json` of the base branch." in text
