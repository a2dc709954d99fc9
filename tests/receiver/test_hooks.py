"""Hooks: each event is handed over at least once, as data only, and never holds anything up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.errors import ConfigError
from pypx.receiver import hooks as hooks_module
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_command import CommandHook, environment_of
from pypx.receiver.hook_delivery import Delivery, Ending, Outcome
from pypx.receiver.hook_queue import HookQueue
from pypx.receiver.hook_settings import HookSettings
from pypx.receiver.hook_webhook import WebhookHook
from pypx.receiver.hooks import Hooks, PythonHook, backoff, configured
from tests.peers.process import free_port
from tests.receiver.hook_server import HookServer, hook_server

WAIT = 20.0
DUMP = (
    "import json, os, sys; json.dump([sys.argv[1:], json.load(sys.stdin), "
    "{k: v for k, v in os.environ.items() if k.startswith('PYPX')}], open(sys.argv[1], 'w'))"
)


def event(number: int = 1, **facts: Any) -> SeriesComplete:
    usual = {
        "study_instance_uid": "1",
        "series_instance_uid": f"1.{number}",
        "instances": 3,
        "path": "/archive/1",
        "began": 1.0,
        "ended": 2.0,
        "verified": True,
        "id": f"{number:016x}",
    }
    return SeriesComplete(**{**usual, **facts})


def delivery(number: int = 1, **facts: Any) -> Delivery:
    return Delivery("h", event(number, **facts), time.time())


def command(*arguments: object, timeout: float = WAIT, name: str = "h") -> HookSettings:
    return HookSettings(name, tuple(map(str, arguments)), timeout=timeout)


def webhook(url: str, **facts: Any) -> HookSettings:
    return HookSettings("h", webhook=url, **{"timeout": 5.0, **facts})


class Recorder:
    """A hook that keeps what it gets, and ends as it is told; then each one is delivered."""

    def __init__(self, *endings: Ending, name: str = "h") -> None:
        self.name = name
        self.endings = list(endings)
        self.got: list[str] = []
        self.times: list[float] = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.stopped = False

    def deliver(self, delivery: Delivery) -> Outcome:
        with self.changed:
            self.got.append(delivery.event.series_instance_uid)
            self.changed.notify_all()
        self.gate.wait(WAIT)
        if self.stopped:
            return Outcome(Ending.STOPPED)
        return Outcome(self.endings.pop(0) if self.endings else Ending.DELIVERED, "is ill")

    def stop(self) -> None:
        self.stopped = True
        self.gate.set()

    def wait_for(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= number, WAIT), self.got


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Hooks]]:
    made: list[Hooks] = []

    def hooks(*hooks: Any, installed: Any = ()) -> Hooks:
        made.append(Hooks(hooks, tmp_path, said.append, installed=lambda: installed))
        made[-1].start()
        return made[-1]

    yield hooks
    for one in made:
        one.close(grace=0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what failed be tried again in a moment."""
    monkeypatch.setattr(hooks_module, "_FIRST_DELAY", 0.01)


# The queue


def test_what_is_queued_is_read_back_by_another_process(tmp_path: Path) -> None:
    odd = delivery(path="/a/\udcff\0", calling_ae_title="$(x)\n", expected=None)
    name = HookQueue(tmp_path).put(odd)
    assert HookQueue(tmp_path).names("h") == [name]
    with HookQueue(tmp_path).claimed(name) as claimed:
        assert claimed == odd
        with HookQueue(tmp_path).claimed(name) as second:
            assert second is None
    queue = HookQueue(tmp_path)
    assert (queue.queued, queue.failed, queue.hooks()) == (1, 0, {"h": 1})
    queue.done(name)
    with queue.claimed(name) as gone:
        assert gone is None
    assert queue.queued == 0


def test_nobody_else_can_read_the_queue(tmp_path: Path) -> None:
    name = HookQueue(tmp_path / "hooks").put(delivery())
    for path in (tmp_path / "hooks/queue" / name, tmp_path / "hooks/queue", tmp_path / "hooks"):
        assert path.stat().st_mode & 0o007 == 0


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    queue = HookQueue(tmp_path)
    name = queue.put(delivery())
    (tmp_path / "queue" / name).write_bytes(b'{"torn')
    with queue.claimed(name) as claimed:
        assert claimed is None
    assert (queue.queued, queue.failed) == (0, 1)
    (failure,) = queue.failures(5)
    assert "damaged" in failure["reason"]
    assert "torn" in failure["damaged"]


def test_unfinished_files_are_no_deliveries_and_are_removed(tmp_path: Path) -> None:
    queue = HookQueue(tmp_path)
    queue.put(delivery())
    for name, age in (("old", 1e5), ("new", 0.0)):
        path = tmp_path / "queue" / f".{name}.h.json.part"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    assert queue.queued == 1
    queue.tidy()
    assert not (tmp_path / "queue/.old.h.json.part").exists()
    assert (tmp_path / "queue/.new.h.json.part").exists()


# Handing over


def test_each_hook_gets_each_event_in_order(make: Any) -> None:
    first, second = Recorder(name="a"), Recorder(name="b")
    hooks = make(first, second)
    for number in range(5):
        hooks.fire(event(number))
    for one in (first, second):
        one.wait_for(5)
        assert one.got == [f"1.{number}" for number in range(5)]
    hooks.close()
    assert hooks.queued == 0


def test_one_that_hangs_holds_up_nobody_else_nor_fire(make: Any) -> None:
    hangs, works = Recorder(name="hangs"), Recorder(name="works")
    hangs.gate.clear()
    hooks = make(hangs, works)
    for number in range(3):
        hooks.fire(event(number))  # would never return if it waited
    works.wait_for(3)
    assert len(hangs.got) <= 1
    hooks.close(grace=0)
    assert hangs.stopped
    assert hooks.queued == 3


@pytest.mark.usefixtures("soon")
def test_what_fails_is_tried_again(make: Any, said: list[str]) -> None:
    hook = Recorder(Ending.AGAIN, Ending.AGAIN, Ending.AGAIN)
    hooks = make(hook)
    hooks.fire(event())
    hook.wait_for(4)
    hooks.close()
    assert (hooks.queued, hooks.failed) == (0, 0)
    assert said == ["The hook h failed: is ill. It will be tried again."]


def test_what_fails_for_good_is_kept_with_the_reason(make: Any, said: list[str], tmp_path: Path):
    hook = Recorder(Ending.FAILED)
    hooks = make(hook)
    hooks.fire(event())
    hooks.close()
    assert (hooks.queued, hooks.failed) == (0, 1)
    (failure,) = HookQueue(tmp_path).failures(1)
    assert (failure["reason"], failure["hook"]) == ("is ill", "h")
    assert failure["series"]["series_instance_uid"] == "1.1"
    assert "of the series 1.1 again" in said[0]


def test_who_moves_a_failed_one_back_has_it_tried_again(make: Any, tmp_path: Path) -> None:
    hooks = make(Recorder(Ending.FAILED))
    hooks.fire(event())
    hooks.close()
    (path,) = (tmp_path / "failed").iterdir()
    path.rename(tmp_path / "queue" / path.name)
    hook = Recorder()
    make(hook)
    hook.wait_for(1)


@pytest.mark.usefixtures("soon")
def test_after_7_days_it_is_given_up(make: Any, tmp_path: Path) -> None:
    HookQueue(tmp_path).put(Delivery("h", event(), time.time() - 8 * 86_400))
    hook = Recorder(Ending.AGAIN)
    hooks = make(hook)
    hook.wait_for(1)
    hooks.close()
    (failure,) = HookQueue(tmp_path).failures(1)
    assert failure["reason"] == "is ill; it was tried for 7 days"


def test_a_hook_with_a_defect_is_tried_again(
    make: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Recorder()
    real = hook.deliver
    calls = []

    def deliver(delivery: Delivery) -> Outcome:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("broken")
        return real(delivery)

    monkeypatch.setattr(hooks_module, "_FIRST_DELAY", 0.01)
    monkeypatch.setattr(hook, "deliver", deliver)
    make(hook).fire(event())
    hook.wait_for(1)
    assert "RuntimeError: broken" in said[0]


def test_backoff_doubles_has_jitter_and_a_limit() -> None:
    assert [backoff(n, 0.5) for n in (1, 2, 3, 9, 10, 1000)] == [1, 2, 4, 256, 300, 300]
    assert (backoff(3, 0.0), backoff(3, 1.0)) == (2, 6)


def test_what_waits_for_a_hook_that_is_gone_stays_and_is_told(
    make: Any, said: list[str], tmp_path: Path
) -> None:
    HookQueue(tmp_path).put(Delivery("old", event(), time.time()))
    hooks = make(Recorder())
    hooks.close()
    assert hooks.queued == 1
    assert said == ["Deliveries wait for the hook old, which is not configured: 1."]


def test_two_hooks_with_one_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Two hooks have the name 'h'"):
        Hooks([Recorder(), Recorder()], tmp_path, print)


def test_what_another_process_leaves_is_taken_up(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "_LOOK_EVERY", 0.02)
    hook = Recorder()
    hooks = make(hook)
    HookQueue(tmp_path).put(delivery(7))  # as px move does, which then ends
    hook.wait_for(1)
    assert hook.got == ["1.7"]
    hooks.close()


def test_a_disk_that_fails_for_a_while_is_looked_at_again(
    make: Any, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HookQueue(tmp_path).put(delivery(7))
    listing = os.listdir
    failing = threading.Event()
    failing.set()

    def list_or_fail(path: Any) -> list[str]:
        if failing.is_set() and Path(path).name in ("queue", "failed"):
            raise OSError(5, "Input/output error")
        return listing(path)

    monkeypatch.setattr(os, "listdir", list_or_fail)
    monkeypatch.setattr(hooks_module, "_LOOK_EVERY", 0.02)
    hook = Recorder()
    hooks = make(hook)
    assert said == ["The queue of the hooks cannot be read: Input/output error."]
    assert (hooks.queued, hooks.failed) == (0, 0)
    failing.clear()
    hook.wait_for(1)


def test_the_same_event_twice_is_one_delivery(make: Any) -> None:
    hook = Recorder(name="x")
    hook.gate.clear()
    hooks = make(hook)
    hooks.fire(event(1))
    hooks.fire(event(1))
    assert hooks.queued == 1
    hook.gate.set()


def test_a_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        HookQueue(tmp_path).put(delivery())
    assert list((tmp_path / "queue").iterdir()) == []


def test_fire_says_when_the_queue_cannot_be_written(make: Any, tmp_path: Path) -> None:
    hooks = make(Recorder())
    (tmp_path / "queue").write_text("in the way")
    with pytest.raises(OSError, match=r"exists|directory"):
        hooks.fire(event())


# Commands


def test_a_command_gets_the_event(make: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    hooks = make(*configured([command(sys.executable, "-c", DUMP, out)]))
    done = event(expected=None)
    hooks.fire(done)
    hooks.close(WAIT)
    arguments, document, environment = json.loads(out.read_text())
    assert arguments == [str(out)]
    assert SeriesComplete.from_document(document) == done
    assert environment["PYPX_SERIES_INSTANCE_UID"] == "1.1"
    assert environment["PYPX_INSTANCES"] == "3"
    assert environment["PYPX_EXPECTED"] == ""
    assert environment["PYPX_VERIFIED"] == "true"
    assert environment["PYPX_BEGAN_AT"] == "1970-01-01T00:00:01.000Z"
    assert hooks.queued == 0


HOSTILE = [
    "$(touch x)",
    "`touch x`; touch x & | x > x",
    "'\"\\",
    "a\nb\r\x1b[2J",
    "nul\0nul",
    "\ud800 half",
    "name \udcff of a file",
    "-rf",
    "山田",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_reaches_a_command_as_data_only(text: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    hook = CommandHook(command(sys.executable, "-c", DUMP, out))
    hostile = event(path=text, calling_ae_title=text, series_instance_uid="1.1")
    before = set(tmp_path.iterdir())
    assert hook.deliver(Delivery("h", hostile, 0.0)) == Outcome(Ending.DELIVERED)
    arguments, document, environment = json.loads(out.read_text())
    assert arguments == [str(out)]
    assert document["path"] == document["calling_ae_title"] == text
    wanted = text.replace("\0", "\ufffd").replace("\ud800", "?")
    assert environment["PYPX_PATH"] == environment["PYPX_CALLING_AE_TITLE"] == wanted
    assert set(tmp_path.iterdir()) == before | {out}


def test_variables_are_the_bytes_that_the_disk_has() -> None:
    assert environment_of(event(path="/\udcff"))["PYPX_PATH"] == b"/\xff"


@pytest.mark.parametrize(
    ("script", "ending", "said"),
    [
        ("exit 0", Ending.DELIVERED, ""),
        ("exit 3", Ending.FAILED, "sh ended with exit code 3"),
        ("echo one; echo two >&2; exit 1", Ending.FAILED, "and said: one | two"),
        ("exit 75", Ending.AGAIN, "asked to be run again"),
        ("kill -9 $$", Ending.FAILED, "was ended by SIGKILL"),
    ],
)
def test_the_exit_code_says_how_it_went(script: str, ending: Ending, said: str) -> None:
    outcome = CommandHook(command("sh", "-c", script)).deliver(delivery())
    assert outcome.ending is ending
    assert said in outcome.reason


def test_a_program_that_is_missing(tmp_path: Path) -> None:
    outcome = CommandHook(command(tmp_path / "none")).deliver(delivery())
    assert outcome.ending is Ending.FAILED
    assert "none could not be started: No such file" in outcome.reason


def test_output_without_end_is_bounded() -> None:
    script = "import sys\nfor _ in range(300): sys.stdout.write('x' * 65536 + '\\n')\nsys.exit(1)"
    outcome = CommandHook(command(sys.executable, "-c", script)).deliver(delivery())
    assert outcome.ending is Ending.FAILED
    assert len(outcome.reason) < 1000
    assert outcome.reason.endswith("xxx")


def test_a_command_that_never_stops_writing_is_killed() -> None:
    outcome = CommandHook(command("yes", timeout=0.3)).deliver(delivery())
    assert "yes was killed after 0.3 s" in outcome.reason


def _pid_is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
CHILDREN = "sleep 600 & echo $! > {0}.part; mv {0}.part {0}; wait"


@needs_proc
def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    hook = CommandHook(command("sh", "-c", CHILDREN.format(file), timeout=0.5))
    outcome = hook.deliver(delivery())
    assert (outcome.ending, outcome.reason) == (Ending.FAILED, "sh was killed after 0.5 s")
    pid = int(file.read_text())
    deadline = time.monotonic() + WAIT
    while not _pid_is_gone(pid):  # the kernel takes its time to end it
        assert time.monotonic() < deadline
        time.sleep(0.01)


@needs_proc
def test_at_the_end_a_command_is_killed_and_run_again_by_the_next_start(
    make: Any, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    hooks = make(*configured([command("sh", "-c", CHILDREN.format(file), timeout=600)]))
    hooks.fire(event())
    deadline = time.monotonic() + WAIT
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hooks.close(grace=0)
    assert hooks.queued == 1
    while not _pid_is_gone(int(file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hook = Recorder()
    make(hook)
    hook.wait_for(1)


def test_a_child_that_is_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {file}"
    outcome = CommandHook(command("sh", "-c", script)).deliver(delivery())
    os.kill(int(file.read_text()), signal.SIGKILL)
    assert outcome.ending is Ending.DELIVERED


# Webhooks


@pytest.fixture
def server() -> Iterator[HookServer]:
    with hook_server() as one:
        yield one


@pytest.mark.usefixtures("soon")
def test_a_webhook_that_is_down_then_ill_then_well(make: Any, said: list[str]) -> None:
    port = free_port()
    hooks = make(*configured([webhook(f"http://127.0.0.1:{port}/series")]))
    hooks.fire(event())
    deadline = time.monotonic() + WAIT
    while not said:  # it has been refused
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert hooks.queued == 1
    with hook_server(port) as server:
        server.answers = [500, 429, 200]
        server.wait_for(3)
        hooks.close(WAIT)
        documents = [document for _, _, document in server.got]
        ids = {headers["Pypx-Delivery"] for _, headers, _ in server.got}
    assert documents == [event().document()] * 3
    assert ids == {f"{1:016x}.h"}
    assert (hooks.queued, hooks.failed) == (0, 0)
    assert "cannot be reached" in said[0]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (200, Ending.DELIVERED),
        (204, Ending.DELIVERED),
        (400, Ending.FAILED),
        (404, Ending.FAILED),
        (408, Ending.AGAIN),
        (425, Ending.AGAIN),
        (429, Ending.AGAIN),
        (500, Ending.AGAIN),
        (503, Ending.AGAIN),
    ],
)
def test_the_status_says_how_it_went(server: HookServer, status: int, ending: Ending) -> None:
    server.answers = [status]
    outcome = WebhookHook(webhook(server.url)).deliver(delivery())
    assert outcome.ending is ending
    assert str(status) in outcome.reason or ending is Ending.DELIVERED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: HookServer, status: int) -> None:
    with hook_server() as other:
        server.answers = [(status, {"Location": f"{other.url}/steal"})]
        outcome = WebhookHook(webhook(server.url)).deliver(delivery())
        assert outcome.ending is Ending.FAILED
        assert "redirects are not followed" in outcome.reason
        assert other.got == []


def test_secrets_come_from_the_environment(server: HookServer) -> None:
    settings = webhook(
        f"{server.url}/${{PLACE}}", headers={"Authorization": "Bearer ${TOKEN}", "X-Lab": "é"}
    )
    hook = WebhookHook(settings, {"PLACE": "p/1", "TOKEN": "secret"})
    assert hook.deliver(delivery()).ending is Ending.DELIVERED
    ((path, headers, _),) = server.got
    assert (path, headers["Authorization"]) == ("/p/1", "Bearer secret")
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("pypx/")


@pytest.mark.parametrize(("environ", "said"), [({}, "is not set"), ({"KEY": "a\nb"}, "one line")])
def test_an_environment_that_does_not_do_is_told_at_the_start(environ: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"KEY.*{said}"):
        WebhookHook(webhook("http://h", headers={"A": "${KEY}"}), environ)


def test_a_missing_package_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs httpx") as caught:
        configured([webhook("http://h")])
    assert caught.value.hint == "pip install 'pypx[webhook]'"


def test_a_server_that_says_nothing() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = WebhookHook(webhook(url, timeout=0.2)).deliver(delivery())
    assert outcome == Outcome(Ending.AGAIN, "did not answer within 0.2 s")


def test_an_address_that_is_none() -> None:
    outcome = WebhookHook(webhook("http://h:port/")).deliver(delivery())
    assert outcome.ending is Ending.FAILED
    assert "cannot be called" in outcome.reason


QUEUE_AND_WAIT = """
import sys, time
from pathlib import Path
from pypx.receiver.hooks import Hooks, configured
from tests.receiver.test_hooks import event, webhook

hooks = Hooks.from_config([webhook(sys.argv[2])], Path(sys.argv[1]), lambda sentence: None)
hooks.start()
for number in range(20):
    hooks.fire(event(number))
print("queued", flush=True)
time.sleep(600)
"""


def test_a_kill_between_queueing_and_delivery_loses_nothing(make: Any, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-c", QUEUE_AND_WAIT, str(tmp_path), url], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"queued\n"
        process.kill()
        process.wait()
    assert HookQueue(tmp_path).queued == 20
    with hook_server(port) as server:
        hooks = make(*configured([webhook(url)]))
        server.wait_for(20)
        hooks.close(WAIT)
        uids = [document["series_instance_uid"] for _, _, document in server.got]
    assert sorted(uids) == sorted(f"1.{number}" for number in range(20))
    assert (hooks.queued, hooks.failed) == (0, 0)


# Functions of installed packages


class _EntryPoint:
    def __init__(self, name: str, function: Any) -> None:
        self.name = name
        self._function = function

    def load(self) -> Any:
        if isinstance(self._function, Exception):
            raise self._function
        return self._function


def test_a_function_gets_the_event(make: Any) -> None:
    got: list[SeriesComplete] = []
    hooks = make(installed=[PythonHook(_EntryPoint("my hook", got.append))])
    assert not hooks.is_empty
    hooks.fire(event())
    hooks.close(WAIT)
    assert got == [event()]
    assert hooks.queued == 0


@pytest.mark.parametrize(
    "function",
    [ImportError("no module"), lambda event: 1 / 0, lambda event: sys.exit(1)],
)
def test_a_function_that_raises(make: Any, said: list[str], function: Any) -> None:
    hooks = make(Recorder(), installed=[PythonHook(_EntryPoint("bad", function))])
    hooks.fire(event())
    hooks.close(WAIT)
    assert (hooks.queued, hooks.failed) == (0, 1)
    assert "The hook python-bad failed: raised " in said[0]


def test_two_functions_with_one_name(make: Any, said: list[str]) -> None:
    got: list[SeriesComplete] = []
    hooks = make(installed=[PythonHook(_EntryPoint(name, got.append)) for name in ("a b", "a_b")])
    hooks.fire(event())
    hooks.close(WAIT)
    assert len(got) == 1
    assert said == ["Two hooks have the name 'python-a_b'. The second one is left out."]


def test_what_a_killed_process_left_for_a_function(make: Any, tmp_path: Path) -> None:
    HookQueue(tmp_path).put(Delivery("python-x", event(), time.time()))
    got: list[SeriesComplete] = []
    arrived = threading.Event()
    function = _EntryPoint("x", lambda event: (got.append(event), arrived.set()))
    make(installed=[PythonHook(function)])
    assert arrived.wait(WAIT)


def test_entry_points_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pypx.hooks]\nconvert = thing:run\n")
    (tmp_path / "thing.py").write_text("got = []\nrun = got.append\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    hooks = Hooks([], tmp_path / "hooks", print)
    hooks.fire(event())
    hooks.close(WAIT)
    import thing  # type: ignore[import-not-found]

    assert thing.got == [event()]
