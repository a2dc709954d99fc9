"""Where ChRIS's pfdcm keeps the keys of its services: ``SMDB(…).service_keyAccess(…)``.

In: a name of a service, and what is to be added. Out: what is known of it. The files are those of
the pypx before this one, ``services/NAME.json`` beside its folder of logs. Nothing else of that
"simple metadata data base" is here: the index of the archive has it. pypx itself reads none of
these files; ``px nodes import`` takes PACS over from one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["SMDB"]

_LOG = "/tmp/log"  # upstream's default
_SECRET = 0o600  # storage and CUBE have passwords


class SMDB:
    """The keys of services.

    Args:
        args: Any object; ``str_logDir`` is the folder of logs, ``str_actionArgs`` JSON of what is
            to be added.

    Attributes:
        args: The same; callers set ``str_actionArgs`` on it.
    """

    def __init__(self, args: Any) -> None:
        self.args = args

    def service_keyAccess(self, service: str) -> dict[str, Any]:
        """Give what is known of a service, after adding what ``args.str_actionArgs`` has.

        Args:
            service: ``pacs``, ``storage``, ``CUBE``, or another name of a file.

        Returns:
            ``status``, which is false where nothing is known or it cannot be read or written, and
            under the name of the service its keys; with ``error``, a sentence, where there is one.
        """
        added = getattr(self.args, "str_actionArgs", "") or ""
        path = self._path(service)
        known: dict[str, Any] = {}
        try:
            known = _read(path)
            if added:
                grown = {**known, **_object(added)}
                _write(path, grown)
                known = grown
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return {"status": False, service: known, "error": f"{path}: {reason}."}
        return {"status": bool(known), service: known}

    def _path(self, service: str) -> Path:
        folder = Path(getattr(self.args, "str_logDir", None) or _LOG).absolute().parent
        name = "".join(c for c in service.lower() if c.isalnum() or c in "-_")
        return folder / "services" / f"{name}.json"


def _read(path: Path) -> dict[str, Any]:
    """Give the keys of a file; none where it is not there.

    Raises:
        OSError, ValueError: It cannot be read, or is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return _object(text)


def _object(text: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: It is none.
    """
    found = json.loads(text)
    if isinstance(found, dict):
        return found
    raise ValueError("there is no JSON object")


def _write(path: Path, keys: dict[str, Any]) -> None:
    """Write a file, which gets its name when it is whole.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else _SECRET
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, _SECRET)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        json.dump(keys, stream, indent=4)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
