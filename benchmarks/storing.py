"""Our side of ``store``: files to a storage SCP over one association, with the client of pypx.

In: an address and a folder, as arguments. Out: exit code 0 when every file was stored. It is what
``storescu +sd`` does: find the files, look at the head of each, associate, send, release.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pypx.client.client import Client
from pypx.client.store import Instance

__all__ = ["main"]


def main() -> int:
    """Send what is in the folder."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    instances = [Instance.from_file(path) for path in sorted(folder.iterdir())]
    with Client(address, calling_ae_title="BENCH") as client:
        store = client.store(instances)
        for instance in instances:
            if store.send(instance).status:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
