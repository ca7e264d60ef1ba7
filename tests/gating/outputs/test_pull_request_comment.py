"""The comment on a pull request, against a small server that stands for GitHub's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from edgekit.errors import MachineError, UsageError
from edgekit.gating.outputs.pull_request_comment import main, post_comment


class GitHub(ThreadingHTTPServer):
    """Holds the comments of pull request 7 of me/net; `refuses` answers everything with 403."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: list[dict[str, Any]] = []
        self.requested: list[str] = []
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        page = int(self.path.rpartition("page=")[2])
        self._answer("GET", self.server.comments[100 * (page - 1) : 100 * page])

    def do_POST(self) -> None:
        number = len(self.server.comments)
        comment = {"url": f"{self.server.address}/comments/{number}", "html_url": f"https://x/{number}"}
        self.server.comments.append({**comment, **self._body()})
        self._answer("POST", self.server.comments[-1])

    def do_PATCH(self) -> None:
        comment = self.server.comments[int(self.path.rpartition("/")[2])]
        comment.update(self._body())
        self._answer("PATCH", comment)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, method: str, value: Any) -> None:
        self.server.requested.append(f"{method} {self.path} {self.headers['Authorization']}")
        self.send_response(403 if self.server.refuses else 200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def post(github: GitHub, text: str, key: str = "pi4 out") -> str:
    return post_comment(github.address, "me/net", 7, "secret", text, key)


def test_the_first_comment_is_made_and_later_ones_take_its_place(github: GitHub) -> None:
    github.comments += [{"url": f"{github.address}/comments/{i}", "body": "words"} for i in range(130)]
    first = post(github, "one")
    assert post(github, "two") == first
    assert post(github, "other", "pi5 out") != first
    assert [x["body"] for x in github.comments[130:]] == [
        "<!-- edgekit: pi4 out -->\ntwo",
        "<!-- edgekit: pi5 out -->\nother",
    ]
    assert github.requested[0] == "GET /repos/me/net/issues/7/comments?per_page=100&page=1 Bearer secret"


def test_a_comment_that_is_too_long_is_cut(github: GitHub) -> None:
    post(github, "x" * 70_000)
    assert github.comments[0]["body"].endswith("x\n\nThe rest is in the job's summary.\n")
    assert len(github.comments[0]["body"]) < 65_536


def test_a_rejection_is_one_message(github: GitHub) -> None:
    github.refuses = True
    with pytest.raises(MachineError) as caught:
        post(github, "one")
    assert caught.value.message == (
        "The comment on the pull request was not written: 403 Forbidden. The job needs the permission "
        "pull-requests: write; a pull request from a fork has none."
    )


def environment(github: GitHub, tmp_path: Path, event: dict[str, Any]) -> dict[str, str]:
    (tmp_path / "event.json").write_text(json.dumps(event))
    (tmp_path / "edgekit.md").write_text("### a table\n")
    return {
        "GITHUB_API_URL": github.address,
        "GITHUB_REPOSITORY": "me/net",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "EDGEKIT_GITHUB_TOKEN": "secret",
    }


def test_the_job_of_a_pull_request_comments_and_hands_the_address_on(github: GitHub, tmp_path: Path) -> None:
    given = environment(github, tmp_path, {"pull_request": {"number": 7}})
    assert main([str(tmp_path / "edgekit.md")], given) == 0
    assert github.comments[0]["body"] == "<!-- edgekit: gate -->\n### a table\n"
    assert (tmp_path / "output").read_text() == "comment=https://x/0\n"


def test_a_rejection_is_a_warning_of_the_job(
    github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    github.refuses = True
    given = environment(github, tmp_path, {"pull_request": {"number": 7}})
    assert main([str(tmp_path / "edgekit.md")], given) == 0
    assert capsys.readouterr().out.startswith("::warning title=edgekit comment::The comment on the pull request was")


@pytest.mark.parametrize("event", [{}, {"pull_request": None}, {"pull_request": {"number": "7"}}, []])
def test_a_job_without_a_pull_request_says_so(
    github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], event: Any
) -> None:
    assert main([str(tmp_path / "edgekit.md")], environment(github, tmp_path, event)) == 0
    assert capsys.readouterr().out == "No pull request: no comment.\n"
    assert github.requested == []


def test_without_a_file_there_is_nothing_to_post() -> None:
    with pytest.raises(UsageError, match=r"^Name the Markdown file that edgekit gate --markdown wrote\.$"):
        main([], {})
