"""Build the Dockerfile without a Docker engine, run the image, and see that it does what it says.

    make image-check

Wants root on Debian or its kin: buildah, podman, runc and mmdebstrap are installed if they are
not there. The base image is made of Debian packages, since no registry of images is needed
then; it stands for python:3.11-slim-bookworm. The containers and their peers talk over a pair
of network namespaces, so that ports of this machine are neither used nor needed. Everything
lies in one temporary folder and is removed at the end, whatever happened.

Where the tools cannot be had it says why and ends with 0; a container that does not do what
it should is an error. The checks are the functions ``check_…`` at the end, in that order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from image_engine import (
    IMAGE,
    REPOSITORY,
    UID,
    Engine,
    Failed,
    Interrupts,
    Unavailable,
    install_tools,
    run,
)

INSIDE, OUTSIDE = "192.0.2.1", "192.0.2.2"  # for documentation, RFC 5737: nobody has them
PORT = 10402
ROOM = 6 << 30  # bytes; it takes some 2 GiB, or 5 where layers are copied
PATIENCE = 60.0  # seconds, for what should take one or two
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def eventually(true: Callable[[], object], what: str) -> None:
    """Return when it is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise Failed(f"After {PATIENCE:g} s still: {what}.")
        time.sleep(0.2)


def expect(true: object, what: str) -> None:
    """Fail with a sentence."""
    if not true:
        raise Failed(what)


# The network ------------------------------------------------------------------------------


class Network:
    """Two hosts with a cable between them: the containers are in one, their peers in the other."""

    def __init__(self, stack: ExitStack) -> None:
        self.inside, self.outside = (f"px-{os.getpid()}-{end}" for end in ("in", "out"))
        for name in (self.inside, self.outside):
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name, check=False)
        # Names for Orthanc, which is not in a container: ip mounts this over /etc/hosts.
        names = Path("/etc/netns") / self.outside
        stack.callback(shutil.rmtree, names, ignore_errors=True)
        names.mkdir(parents=True)
        (names / "hosts").write_text(f"127.0.0.1 localhost\n{INSIDE} listener\n")
        ends = ((self.inside, "in0", INSIDE), (self.outside, "out0", OUTSIDE))
        pair = ("type", "veth", "peer", "name", "out0", "netns", self.outside)
        run("ip", "link", "add", "in0", "netns", self.inside, *pair)
        for name, device, address in ends:
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            for one in ("lo", device):
                run("ip", "-n", name, "link", "set", one, "up")

    def from_outside(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program where the peers are."""
        return run(*self.outside_words, *words, check=check, timeout=120)

    @property
    def outside_words(self) -> tuple[str, ...]:
        """What a command line begins with that runs where the peers are."""
        return ("ip", "netns", "exec", self.outside)


class Check:
    """What all checks need."""

    def __init__(self, engine: Engine, network: Network, folder: Path) -> None:
        self.engine = engine
        self.network = network
        self.folder = folder
        self.samples = folder / "samples"

    def volume(self, owner: int = UID) -> Path:
        """Make a folder on the host for a volume."""
        path = Path(tempfile.mkdtemp(prefix="volume-", dir=self.folder))
        os.chown(path, owner, owner)
        return path

    def words(self, volume: Path, *options: str) -> tuple[object, ...]:
        """Give the options of ``podman run`` that all containers here have."""
        network = f"ns:/run/netns/{self.network.inside}"
        hosts = f"pacs:{OUTSIDE}"
        where = ("--network", network, "--add-host", hosts, "-v", f"{volume}:/dicom")
        return (*LIMITS, *where, *options)

    def once(self, volume: Path, *command: str, options: Sequence[str] = ()) -> Any:
        """Run a command in a new container to its end."""
        words = self.words(volume, "--rm", *options)
        return self.engine.podman("run", *words, IMAGE, *command, check=False)

    @contextmanager
    def container(self, volume: Path, *options: str, command: Sequence[str] = ()) -> Iterator[str]:
        """Run a container meanwhile; give its ID when its listener answers."""
        words = self.words(volume, "--detach", *options)
        name = self.engine.podman("run", *words, IMAGE, *command).stdout.split()[-1]
        try:
            eventually(lambda: self.is_healthy(name) or self.has_ended(name), "not healthy")
            expect(not self.has_ended(name), f"The container has ended:\n{self.log(name)}")
            yield name
        except Failed as error:
            raise Failed(f"{error}\nIts log:\n{self.log(name)}") from None
        finally:
            self.engine.podman("rm", "--force", "--time", "0", name, check=False)

    def is_healthy(self, name: str) -> bool:
        return self.engine.podman("healthcheck", "run", name, check=False).returncode == 0

    def has_ended(self, name: str) -> bool:
        return not self.state(name)["Running"]

    def state(self, name: str) -> Any:
        return json.loads(self.engine.podman("inspect", name).stdout)[0]["State"]

    def log(self, name: str) -> str:
        return self.engine.podman("logs", name, check=False).stdout


def files_in(volume: Path) -> list[Path]:
    """Give the images that a listener has put there."""
    return [file for file in volume.glob("data/[!.]*/**/*.dcm") if file.is_file()]


# The checks -------------------------------------------------------------------------------


def check_what_it_is(check: Check) -> None:
    """The image is what its label says: a user, a port, a volume, a health check, DCMTK."""
    (image,) = json.loads(check.engine.podman("inspect", IMAGE).stdout)
    config = image["Config"]
    expect(config["User"] == str(UID), f"It runs as {config['User']!r}.")
    expect(f"{PORT}/tcp" in config["ExposedPorts"], "The port is not exposed.")
    expect("/dicom" in config["Volumes"], "There is no volume.")
    health = image.get("Healthcheck") or config.get("Healthcheck")
    expect(health["Test"][:2] == ["CMD", "px-echo"], f"The health check is {health}.")
    print(f"  {image['Size'] / 2**20:.0f} MiB with its base")
    done = check.once(check.volume(), "sh", "-c", "findscu --version; ls -d /src /wheels")
    expect("dcmtk" in done.stdout, f"DCMTK: {done.stdout}")
    expect(done.stdout.count("No such file") == 2, f"The build has left something: {done.stdout}")


def check_listener(check: Check) -> None:
    """By default it listens: an echo from outside, a study into the volume, health, SIGTERM."""
    volume, outside = check.volume(), check.network.from_outside
    with check.container(volume, "--read-only", "--tmpfs", "/tmp") as name:
        outside("echoscu", "-to", "30", INSIDE, PORT)
        outside("storescu", "-to", "30", "+sd", INSIDE, PORT, check.samples)
        expect(len(files_in(volume)) == 27, f"{len(files_in(volume))} of 27 images are there.")
        expect({file.stat().st_uid for file in files_in(volume)} == {UID}, "Others own them.")
        expect(check.is_healthy(name), "It is not healthy.")
        words = check.engine.podman("exec", name, "cat", "/proc/1/cmdline").stdout.split("\0")
        expect(any(word.endswith("/px-listen") for word in words), f"PID 1 is {words}.")
        expect("Whoever reaches the port" in check.log(name), "It does not warn.")
        asked = ("px", "echo", "--engine", "dcmtk", f"PYPX@127.0.0.1:{PORT}")
        check.engine.podman("exec", name, *asked)  # by the echoscu that the image has
        started = time.monotonic()
        check.engine.podman("kill", "--signal", "TERM", name)
        eventually(lambda: check.has_ended(name), "SIGTERM does not end it")
        code, log = check.state(name)["ExitCode"], check.log(name)
        expect(code == 0, f"After SIGTERM the exit code is {code}.")
        expect("Stopped after" in log and "27 images" in log, "It does not say what it did.")
        print(f"  SIGTERM took {time.monotonic() - started:.1f} s")


def check_who_may_send(check: Check) -> None:
    """PYPX_ALLOW and other variables count, and the health check may always ask."""
    allowed, volume = ("-e", f"PYPX_ALLOW=CT1@{OUTSIDE},MR1@{OUTSIDE}"), check.volume()
    with check.container(volume, *allowed, "-e", "PYPX_AET=RESEARCH") as name:
        outside = check.network.from_outside
        outside("echoscu", "-aet", "MR1", INSIDE, PORT)
        refused = outside("echoscu", "-aet", "OTHER", INSIDE, PORT, check=False)
        expect("Calling AE Title Not Recognized" in refused.stdout, f"OTHER: {refused.stdout}")
        expect(check.is_healthy(name), "It is not healthy.")
        expect("as RESEARCH" in check.log(name), "PYPX_AET is not heeded.")


def check_commands(check: Check) -> None:
    """Any command can be run, also as upstream's entry point took it, and its exit code counts."""
    volume = check.volume()
    for command in (["px-find", "--help"], ["--px-find", "--help"], ["px", "find", "--help"]):
        done = check.once(volume, *command)
        expect(not done.returncode and "C-FIND" in done.stdout, f"{command}: {done.stdout}")
    done = check.once(volume, "px-find", f"NOBODY@{OUTSIDE}:1", "--PatientID", "1")
    expect(done.returncode == 3, f"px-find gives {done.returncode}: {done.stdout}")


def check_volume_of_another(check: Check) -> None:
    """A volume that somebody else owns is a sentence with what to do."""
    done = check.once(check.volume(owner=0))
    expect(done.returncode == 5, f"The exit code is {done.returncode}: {done.stdout}")
    expect("belongs to UID 0" in done.stdout and f"chown {UID}" in done.stdout, done.stdout)
    volume = check.volume(owner=4321)
    done = check.once(volume, "px", "ls", options=("--user", "4321"))
    expect("There is no archive" in done.stdout, f"With --user: {done.stdout}")


def check_compose(check: Check) -> None:
    """The services of compose.yaml do what they say, with Debian's Orthanc as the PACS."""
    import yaml

    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    volume = check.volume()
    (pacs_files,) = services["pacs"]["volumes"]
    settings = json.loads((REPOSITORY / pacs_files.partition(":")[0]).read_text())
    storage = check.folder / "orthanc"
    settings |= {"StorageDirectory": str(storage), "IndexDirectory": str(storage), "Plugins": []}
    config = check.folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    orthanc = subprocess.Popen(
        [*check.network.outside_words, "Orthanc", str(config)],
        stdout=(check.folder / "orthanc.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        tried = services["try"]
        mounts = [
            word
            for bind in tried["volumes"]
            if bind.startswith("./")
            for word in ("-v", f"{REPOSITORY / bind}")
        ]
        with check.container(volume) as name:
            shared = ("--pid", f"container:{name}", *mounts)
            done = check.once(volume, *tried["command"], options=shared)
            print("    " + "\n    ".join(done.stdout.strip().splitlines()[:60]))
            expect(done.returncode == 0, "The example fails.")
            expect("Complete: all 27 instances are here." in done.stdout, "Not all is there.")
            expect(f"ORTHANC@{OUTSIDE} to PYPX" in check.log(name), "Another listener received.")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(orthanc.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            orthanc.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(orthanc.pid, signal.SIGKILL)


CHECKS = (
    check_what_it_is,
    check_listener,
    check_who_may_send,
    check_commands,
    check_volume_of_another,
    check_compose,
)


def temporary_folder() -> str:
    """Where all of it lies: in memory if there is room, which takes half the time."""
    memory = Path("/dev/shm")
    with suppress(OSError):
        there = os.statvfs(memory)
        if there.f_bavail * there.f_frsize > ROOM and not there.f_flag & os.ST_NOEXEC:
            return str(memory)
    return os.environ.get("TMPDIR", "/var/tmp")


def check_all(stack: ExitStack) -> None:
    """Build and check."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"image-check: {what} (after {time.monotonic() - began:.0f} s)", flush=True)

    say("tools")
    install_tools()
    folder = Path(tempfile.mkdtemp(prefix="pypx-image-", dir=temporary_folder()))
    folder.chmod(0o755)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    engine = Engine(folder)
    stack.callback(engine.clean)
    say("base image")
    engine.make_base()
    say("image")
    engine.build()
    check = Check(engine, Network(stack), folder)
    run(sys.executable, "-m", "pypx", "demo", "--samples", check.samples)
    for one in CHECKS:
        say((one.__doc__ or "").splitlines()[0])
        one(check)
    say("all is well")


def main() -> int:
    """Run all checks; the exit code is 1 if one fails."""
    Interrupts.heed()
    with ExitStack() as stack:
        try:
            check_all(stack)
        except Unavailable as error:
            print(f"image-check: skipped, {error}", file=sys.stderr)
        except Failed as error:
            print(f"image-check: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
