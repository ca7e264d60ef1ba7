import signal
import sys

import pytest

from edgekit.errors import ResourceError
from edgekit.workers.process import Command, Ended, log_tail, run_watched


def command(tmp_path, code, **limits):
    return Command(
        title="test run",
        arguments=[sys.executable, "-c", code],
        log=tmp_path / "logs" / "log.txt",
        timeout_s=limits.pop("timeout_s", 60),
        **limits,
    )


def test_a_process_that_ends_leaves_its_exit_code_and_its_log(tmp_path):
    ended = run_watched(
        command(tmp_path, "import sys; print('out'); sys.stdout.flush(); sys.stderr.write('err'); sys.exit(3)"),
        lambda: None,
    )
    assert ended.returncode == 3
    assert ended.how == "ended with exit code 3"
    assert (tmp_path / "logs" / "log.txt").read_text() == "out\nerr"
    assert ended.wall_s > 0
    assert ended.cpu_s > 0
    assert ended.peak_memory_bytes > 1_000_000


def test_the_environment_is_added_to_this_one(tmp_path):
    run_watched(
        command(tmp_path, "import os; print(os.environ['ADDED'], 'PATH' in os.environ)", environment={"ADDED": "yes"}),
        lambda: None,
    )
    assert (tmp_path / "logs" / "log.txt").read_text() == "yes True\n"


def test_a_crash_is_named_by_its_signal(tmp_path):
    ended = run_watched(command(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), lambda: None)
    assert ended.returncode == -signal.SIGSEGV
    assert ended.how == "was ended by signal 11 (SIGSEGV)"


def test_a_signal_without_a_name_is_reported_by_its_number():
    ended = Ended(returncode=-40, wall_s=0.0, cpu_s=0.0, peak_memory_bytes=0)
    assert ended.how == "was ended by signal 40"


def test_the_time_limit_ends_the_process_and_its_children(tmp_path, are_gone):
    code = (
        "import subprocess, sys, time; "
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(ResourceError) as caught:
        run_watched(command(tmp_path, code, timeout_s=1.0), lambda: None)
    assert caught.value.message == (
        "The test run was stopped after 1 s, its time limit. "
        "Raise the limit with --timeout, or give the machine more time or a smaller model."
    )
    assert are_gone([int((tmp_path / "child").read_text())])


def test_the_memory_limit_ends_the_process(tmp_path):
    with pytest.raises(ResourceError) as caught:
        run_watched(
            command(tmp_path, "import time; held = b'x' * 200_000_000; time.sleep(60)", memory_limit_bytes=100_000_000),
            lambda: None,
        )
    before, _, after = caught.value.message.partition(" of memory; ")
    assert before.startswith("The test run was stopped at ")
    assert after == "its limit is 100 MB. Raise the limit with --memory-limit, or use a smaller model."


def test_it_is_polled_once_more_after_the_end(tmp_path):
    path = tmp_path / "late"
    seen = []
    run_watched(command(tmp_path, f"open({str(path)!r}, 'w').write('late')"), lambda: seen.append(path.exists()))
    assert seen[-1]


def test_an_error_of_the_poll_ends_the_process(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched(command(tmp_path, "import time; time.sleep(60)"), stop)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "Its log is empty.", id="empty"),
        pytest.param("a\nb\n", "The end of its log:\n  a\n  b", id="short"),
        pytest.param(
            "\n".join(map(str, range(20))),
            "The end of its log:\n" + "\n".join(f"  {i}" for i in range(5, 20)),
            id="long",
        ),
        pytest.param(
            'before\nTraceback (most recent call last):\n  File "a.py", line 1\n    ^\nValueError: no\nafter',
            "The end of its log:\n  before\n  ValueError: no\n  after",
            id="of a traceback the exception",
        ),
        pytest.param("Traceback (most recent call last):", "Its log says nothing about it.", id="a traceback cut off"),
    ],
)
def test_the_tail_of_a_log_is_its_last_fifteen_lines(tmp_path, text, expected):
    log = tmp_path / "log"
    log.write_text(text)
    assert log_tail(log) == expected


def test_a_missing_log_is_empty(tmp_path):
    assert log_tail(tmp_path / "none") == "Its log is empty."
