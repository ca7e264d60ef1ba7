"""One comment of edgekit on a pull request, kept current: found by a mark that no reader sees, else made.

The action runs `python -m edgekit.gating.outputs.pull_request_comment TABLE`. A token that may not write (a pull
request from a fork) is a warning: the verdict is in the job's summary as well.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.errors import EdgekitError, MachineError, UsageError
from edgekit.files.bounded_reading import read_json, read_text

MARK: Final = "<!-- edgekit: {key} -->"
"""First line of the comment. `key` tells several gates of one pull request apart."""

_PAGE: Final = 100
_LONGEST: Final = 60_000
"""Characters; GitHub takes 65,536."""


def post_comment(api: str, repository: str, number: int, token: str, text: str, key: str) -> str:
    """Writes the comment, in the place of the one that is there; returns its address.

    Args:
        api: Address of GitHub's API.
        repository: owner/name.
        number: Number of the pull request.
        token: May write comments.
        text: Markdown.
        key: Which gate it is of.

    Raises:
        MachineError: GitHub did not answer, or refused.
    """
    mark = MARK.format(key=key.replace("--", "-"))
    cut = "" if len(text) <= _LONGEST else "\n\nThe rest is in the job's summary.\n"
    body = {"body": f"{mark}\n{text[:_LONGEST]}{cut}"}
    comments = f"{api}/repos/{repository}/issues/{number}/comments"
    page = 1
    while found := _ask("GET", f"{comments}?per_page={_PAGE}&page={page}", token):
        for comment in found:
            if str(comment.get("body", "")).startswith(mark):
                return str(_ask("PATCH", comment["url"], token, body)["html_url"])
        if len(found) < _PAGE:
            break
        page += 1
    return str(_ask("POST", comments, token, body)["html_url"])


def _ask(method: str, address: str, token: str, data: Mapping[str, Any] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  the address is GITHUB_API_URL, or one that it gave
        address,
        method=method,
        data=None if data is None else json.dumps(data).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  see above
            return json.loads(answer.read())
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, urllib.error.HTTPError):
            reason = f"{error.code} {error.reason}"
            error.close()
        raise MachineError(
            f"The comment on the pull request was not written: {reason}. The job needs the permission "
            "pull-requests: write; a pull request from a fork has none."
        ) from error


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Posts the file that is named, where the job is about a pull request; returns 0 also where that is refused.

    Raises:
        UsageError: no file is named.
    """
    if len(arguments) != 1:
        raise UsageError("Name the Markdown file that edgekit gate --markdown wrote.")
    event = environment.get("GITHUB_EVENT_PATH", "")
    found = read_json(Path(event)) if event and Path(event).is_file() else {}
    number = (found.get("pull_request") or {}).get("number") if isinstance(found, dict) else None
    if not isinstance(number, int):
        sys.stdout.write("No pull request: no comment.\n")
        return 0
    try:
        address = post_comment(
            environment.get("GITHUB_API_URL", "https://api.github.com"),
            environment["GITHUB_REPOSITORY"],
            number,
            environment.get("EDGEKIT_GITHUB_TOKEN", ""),
            read_text(Path(arguments[0])),
            environment.get("EDGEKIT_COMMENT_KEY", "gate"),
        )
    except MachineError as error:
        sys.stdout.write(f"::warning title=edgekit comment::{error.message}\n")
        return 0
    sys.stdout.write(f"{address}\n")
    if output := environment.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as stream:
            stream.write(f"comment={address}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except EdgekitError as error:
        sys.exit(error.message)
