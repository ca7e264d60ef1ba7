"""Each CI example, run: its shell steps against the working tree, on a task that takes seconds."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.runtime

ROOT = Path(__file__).parents[3]
CI = ROOT / "examples" / "ci"

TASK = """\
[model]
source = "net.onnx"
[data]
evaluation = "evaluation.npz"
metric = "cosine"
[budget]
size = "4 kB"
[devices.pi4]
format = "onnx"
"""

PYTHON = """\
#!/bin/sh
# The examples install edgekit; here it is the working tree, so that command is only written down.
if [ "$1 $2" = "-m pip" ]; then echo "$@" >> "$PIP_LOG"; exit 0; fi
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, write_onnx: Callable[..., None]) -> Path:
    """A task of one linear layer in ONNX, exported as fp32; `bin` holds the commands that the examples call."""
    folder = tmp_path_factory.mktemp("project")
    write_onnx(folder / "net.onnx", width=8, layers=1)
    np.savez(folder / "evaluation.npz", x=np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32))
    (folder / "edgekit.toml").write_text(TASK)
    (folder / "bin").mkdir()
    for name, text in (
        ("python", PYTHON.format(python=shlex.quote(sys.executable))),
        ("edgekit", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m edgekit "$@"\n'),
    ):
        path = folder / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    done = shell("python -m edgekit export --device pi4 -p fp32 -o edgekit-out --quiet", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def shell(script: str, folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a step as a CI system does: bash that stops at the first failure."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EDGEKIT_", "GITHUB_"))}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **inherited,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PIP_LOG": str(folder / "pip.log"),
            "EDGEKIT_CACHE_DIR": str(folder / "cache"),
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def fill_in(text: str, inputs: Mapping[str, str]) -> str:
    """Replaces `${{ inputs.x }}` and the action's path, the only expressions that the examples use."""

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        return str(ROOT) if name == "github.action_path" else inputs[name.removeprefix("inputs.")]

    return re.sub(r"\$\{\{(.*?)\}\}", value, text)


def run_action(folder: Path, given: Mapping[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the steps of action.yml as GitHub does: defaults, then what `with` gives; returns the last step's end."""
    action = read_yaml(ROOT / "action.yml")
    assert action["runs"]["using"] == "composite"
    unknown = set(given) - set(action["inputs"])
    assert unknown == set()
    inputs = {name: str(given.get(name, spec.get("default", ""))) for name, spec in action["inputs"].items()}
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        variables = {name: fill_in(value, inputs) for name, value in step["env"].items()}
        done = shell(fill_in(step["run"], inputs), folder, {**variables, **environment})
        if done.returncode:
            break
    return done


def test_the_github_workflow_exports_and_gates(project: Path, tmp_path: Path) -> None:
    (job,) = read_yaml(CI / "github-workflow.yml")["jobs"].values()
    summary = tmp_path / "summary.md"
    ran = []
    for step in job["steps"]:
        if "run" in step:
            assert "${{" not in step["run"]
            done = shell(step["run"], project)
        elif step["uses"].startswith("OWNER/edgekit@"):
            done = run_action(project, step["with"], GITHUB_STEP_SUMMARY=str(summary))
        else:
            assert step["uses"].startswith(("actions/", "github/"))
            continue
        assert done.returncode == 0, done.stdout + done.stderr
        ran.append(step["name"])
    assert ran == ["Install edgekit and what the format needs", "Export", "Gate"]
    assert summary.read_text().startswith("### ✅ edgekit: net on pi4\n")
    assert (project / job["steps"][-1]["with"]["sarif_file"]).is_file()
    assert f"-m pip install --quiet {ROOT}\n" in (project / "pip.log").read_text()


def test_the_action_fails_with_an_annotation_where_a_limit_is_missed(project: Path) -> None:
    done = run_action(
        project,
        {"target": "edgekit-out", "device": "pi4", "max-regression": "size +5 %", "fail-on-missing-baseline": "true"},
    )
    assert done.returncode == 1
    # Which precision lies in the folder depends on which of this file's tests exported last.
    title = r"title=edgekit onnx fp(16|32)%3A size_change::size change was not measured: "
    assert re.search(rf"^::error file=edgekit\.toml,line=1,{title}", done.stdout, re.MULTILINE)


def test_text_in_an_input_is_no_command(project: Path) -> None:
    done = run_action(project, {"target": "$(touch hacked); `touch hacked`", "device": "pi4"})
    assert done.returncode == 2
    assert not (project / "hacked").exists()


def test_the_gitlab_job_exports_and_gates(project: Path) -> None:
    job = read_yaml(CI / "gitlab-ci.yml")["model"]
    for line in (*job["before_script"], *job["script"]):
        done = shell(line, project)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (project / job["artifacts"]["reports"]["junit"]).is_file()


def test_the_shell_script_exports_verifies_and_gates(project: Path) -> None:
    done = shell(f"{shlex.quote(str(CI / 'gate.sh'))} pi4 edgekit-out", project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("PASS pi4")


def test_the_shell_script_ends_with_the_gates_exit_code(project: Path) -> None:
    script = shlex.quote(str(CI / "gate.sh"))
    assert shell(f"{script} pi4", project, {"EDGEKIT_MAX_SIZE": "10 B"}).returncode == 1
    assert shell(f"{script} no-such-device", project).returncode == 2


def test_the_pre_commit_hooks_run_with_the_examples_arguments(project: Path) -> None:
    hooks = {hook["id"]: hook for hook in read_yaml(ROOT / ".pre-commit-hooks.yaml")}
    (repository,) = read_yaml(CI / "pre-commit-config.yaml")["repos"]
    for used in repository["hooks"]:
        hook = hooks[used["id"]]
        assert {"id", "name", "entry", "language", "files"} <= set(hook)
        assert hook["pass_filenames"] is False
        assert re.search(hook["files"], "edgekit-out/net-fp32.onnx")
        assert not re.search(hook["files"], "README.md")
        done = shell(shlex.join([*shlex.split(hook["entry"]), *used["args"]]), project)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_pytest_example_reports_each_check(project: Path) -> None:
    assert shell("edgekit baseline set edgekit-out", project).returncode == 0
    named = "" if entry_points(group="pytest11", name="edgekit") else "-p edgekit.pytest_plugin "
    example = shlex.quote(str(CI / "test_budgets.py"))
    done = shell(
        f"python -m pytest {named}-p no:cacheprovider --rootdir . -c /dev/null --import-mode=importlib -v {example}",
        project,
    )
    (project / "edgekit-baseline.json").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("a_raspberry_pi[onnx-size] PASSED", "than_before[onnx-size_change] PASSED"):
        assert name in done.stdout
