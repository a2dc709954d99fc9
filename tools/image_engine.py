"""buildah and podman: the tools, a base image of Debian packages, and the image of the Dockerfile.

In: the Dockerfile. Out: an image, and containers of it. What they should do is looked at in
``image_check``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["IMAGE", "REPOSITORY", "UID", "Engine", "Failed", "Interrupts", "Unavailable"]
__all__ += ["install_tools", "run"]

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("buildah", "podman", "runc", "mmdebstrap")
SUITE = "bookworm"
IN_BASE = ("ca-certificates", "python3", "python3-pip", "python3-venv")
BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGE = "localhost/pypx"
UID = 1234
"""Not the default, to see that the argument is heeded."""


class Failed(Exception):
    """A check did not hold."""


class Unavailable(Exception):
    """The tools cannot be had here."""


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Ctrl-C and the like: at once, but not in the middle of a change to a container.

    A podman that is killed may leave a process that nobody knows.
    """

    holding = False
    asked = False

    @classmethod
    def heed(cls) -> None:
        for number in STOPS:
            signal.signal(number, cls._stop)

    @classmethod
    def ignore(cls) -> None:
        """Let nothing interrupt the cleaning."""
        cls.asked = False
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)

    @classmethod
    def _stop(cls, *_: object) -> None:
        if not cls.holding:
            sys.exit(130)
        cls.asked = True

    @classmethod
    @contextmanager
    def held(cls) -> Iterator[None]:
        cls.holding = True
        try:
            yield
        finally:
            cls.holding = False
        if cls.asked:
            sys.exit(130)


def run(
    *words: object, check: bool = True, timeout: float = 900, alone: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a program; what it said comes with the error if it fails.

    Args:
        words: The program and its arguments.
        check: Whether it must not fail.
        timeout: Seconds.
        alone: Whether Ctrl-C on the terminal is kept from it.
    """
    line = [str(word) for word in words]
    done = subprocess.run(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        start_new_session=alone,
        check=False,
    )
    if check and done.returncode:
        raise Failed(f"{shlex.join(line)}\nended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done


# The tools --------------------------------------------------------------------------------


def install_tools() -> None:
    """Have the tools, or say why not."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("only root on Linux can build and run images like this")
    missing = [name for name in PACKAGES if shutil.which(name) is None]
    if missing and shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} are not installed, and there is no apt-get")
    for attempt in range(2 if missing else 0):
        run("apt-get", "-qq", "update", check=False)
        done = run(
            *("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"),
            *("-o", "DPkg::Lock::Timeout=120", "install", "--yes", "--no-install-recommends"),
            *missing,
            check=False,
        )
        if done.returncode == 0:
            break
        if attempt:
            raise Unavailable(
                f"apt-get cannot install {', '.join(missing)}:\n{done.stdout[-2000:]}"
            )
    for name in ("ip", "echoscu", "storescu", "Orthanc"):
        if shutil.which(name) is None:
            raise Unavailable(f"{name} is not installed (tools/install_peers.sh)")


# The image --------------------------------------------------------------------------------


class Engine:
    """buildah and podman, with all they keep in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        driver = "overlay" if self._overlay() else "vfs"
        settings = folder / "containers.conf"  # its locks are else in the memory of the system
        settings.write_text('[engine]\nlock_type = "file"\n')
        os.environ["CONTAINERS_CONF"] = str(settings)
        store = (
            "--root",
            folder / "store",
            "--runroot",
            folder / "run",
            "--storage-driver",
            driver,
        )
        self._buildah = ("buildah", *store)
        self._podman = (
            *("podman", *store, "--tmpdir", folder / "tmp", "--cgroup-manager", "cgroupfs"),
            *("--runtime", shutil.which("runc"), "--log-level", "fatal"),
        )

    def _overlay(self) -> bool:
        """Whether the kernel can lay folders over each other here; the other way copies."""
        parts = [self.folder / "overlay" / name for name in ("lower", "upper", "work", "merged")]
        for part in parts:
            part.mkdir(parents=True)
        lower, upper, work, merged = parts
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mounted = run("mount", "-t", "overlay", "overlay", "-o", options, merged, check=False)
        return mounted.returncode == 0 and run("umount", merged).returncode == 0

    def buildah(self, *words: object) -> str:
        return run(*self._buildah, *words).stdout.strip()

    def podman(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        with Interrupts.held():
            return run(*self._podman, *words, check=check, timeout=120, alone=True)

    def make_base(self) -> None:
        """Make the image that BASE names, of Debian's packages."""
        rootfs = self.folder / "rootfs.tar"
        settings = sorted(Path("/etc/apt/apt.conf.d").glob("*"))
        ours = [file for file in settings if "Acquire::" in file.read_text(errors="replace")]
        command = (
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(IN_BASE)}"),
            *(f"--aptopt={file}" for file in ours),
            *(SUITE, rootfs),
        )
        os.environ["TMPDIR"] = str(self.folder)
        if run(*command, check=False).returncode:  # a mirror that did not answer, say
            rootfs.unlink(missing_ok=True)
            done = run(*command, check=False)
            if done.returncode:
                raise Unavailable(f"mmdebstrap fails:\n{done.stdout[-2000:]}")
        container = self.buildah("from", "scratch")
        self.buildah("add", "-q", container, rootfs, "/")
        rootfs.unlink()
        # A network may have an authority or an index of its own.
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():
            self.buildah("copy", "-q", container, authorities, authorities)
        pip = self.folder / "pip.conf"
        pip.write_text(pip_settings(authorities))
        self.buildah("copy", "-q", container, pip, "/etc/pip.conf")
        self.buildah("config", "--cmd", "python3", container)
        self.buildah("commit", "-q", "--rm", container, BASE)

    def build(self) -> None:
        """Build the Dockerfile."""
        proxies = [
            f"--build-arg={name}={os.environ[name]}"
            for name in ("http_proxy", "https_proxy")
            if name in os.environ
        ]
        command = (
            *(*self._buildah, "bud", "--isolation", "chroot", "--network", "host", "--pull-never"),
            *("--format", "docker", f"--build-arg=UID={UID}", *proxies, "-t", IMAGE, REPOSITORY),
        )
        if run(*command, check=False).returncode:  # again, in case that it was the network
            run(*command)

    def clean(self) -> None:
        """Remove every container, mount and file."""
        Interrupts.ignore()
        for words in (("rm", "--all", "--force", "--time", "0"), ("umount", "--all")):
            with suppress(subprocess.TimeoutExpired, FileNotFoundError):
                self.podman(*words, check=False)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for mount in sorted((line.split()[1] for line in mounts), reverse=True):
            if Path(mount).is_relative_to(self.folder):
                run("umount", "--lazy", mount, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            print(f"image-check: {self.folder} could not be removed", file=sys.stderr)


def pip_settings(authorities: Path) -> str:
    """Give a pip.conf with what the network here wants of pip, but no folder of this machine."""
    done = run(sys.executable, "-m", "pip", "config", "list", check=False)
    found = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='([^']*)'$", done.stdout, re.MULTILINE))
    wanted = {key: found[key] for key in ("index-url", "proxy", "trusted-host") if key in found}
    if authorities.exists():
        wanted["cert"] = str(authorities)
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in wanted.items())
