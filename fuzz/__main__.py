"""Run atheris on each target for some seconds, one process each.

In: ``python -m fuzz --seconds 60 [TARGET…]``. Out: exit code 1 where something was found; the
input is then a file to be mended and kept in ``tests/fuzz/corpus/TARGET``. Interesting inputs are
kept in ``.cache/fuzz`` for the next run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CACHE = REPOSITORY / ".cache/fuzz"
FOUND = REPOSITORY / "tests/fuzz/corpus"
LONGEST = 4096  # bytes of one input
SLOWEST = 5  # seconds that one input may take
LEAK = 64  # MiB more in the second half of a run than at its middle


def main() -> int:
    """Fuzz each target that is named, or all."""
    names = ("pdu", "command", "data_set", "acceptor")
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names))
    arguments, options = parser.parse_known_args()
    if arguments.one:
        fuzz(arguments.one, options)
        return 0
    failed = [name for name in arguments.targets or names if not run(name, arguments.seconds)]
    return int(bool(failed))


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["pypx"]):
        from fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; say whether all is well."""
    kept, found = CACHE / name, FOUND / name
    for folder in (kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz", "--one", name]
    command += [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}"]
    command += [f"-artifact_prefix={CACHE / name}-", "-rss_limit_mb=1024", str(kept), str(found)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    sizes = [int(size) for size in re.findall(r"rss: (\d+)Mb", done.stderr)]
    runs = re.findall(r"Done (\d+) runs", done.stderr)
    grown = sizes[-1] - sizes[len(sizes) // 2] if sizes else 0
    print(
        f"{name}: {runs[-1] if runs else 'not all'} runs, {sizes[-1] if sizes else 0} MiB, "
        f"{grown} MiB more than at half time"
    )
    if done.returncode:
        print(done.stderr[-6000:])
    return done.returncode == 0 and grown < LEAK


if __name__ == "__main__":
    sys.exit(main())
