"""The examples of the page about the API and of the notebook run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEKIT_DEVICE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_page_s_examples_run(capsys):
    pytest.importorskip("torch")
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL):
        exec(compile(block, "docs/api.md", "exec"), names)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("True ")
    assert shown[-2:] == ["{'pi4': True, 'pixel8': True}", "True True"]


def test_the_notebook_runs_and_shows_its_report():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    results = [output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    pages = [data["text/html"] for data in results if "text/html" in data]
    assert [re.search(r"<b[^>]*>(\w+)</b>", page)[1] for page in pages] == ["PASS", "PASS"]
    assert all(f"'{name}'" in results[-2]["text/plain"] for name in ("tflite", "onnx", "executorch", "coreml"))
    assert results[-1]["text/plain"].endswith("{})")
