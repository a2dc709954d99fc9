"""The physical limit: bytes from a socket into files, one file an object, and nothing else.

In: port and folder, as arguments, and ``--sync``; on the wire a length (4 bytes, big endian) and
so many bytes. Out: a file, synced with its folder if that was asked for, and one byte of answer.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys

__all__ = ["main"]

_BUFFER = 1 << 20
_numbers = itertools.count()


def _copy(sock: socket.socket, folder: int, is_synced: bool) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    while True:
        size = sock.recv_into(buffer)
        if not size:
            return
        left = int.from_bytes(buffer[:4]) + 4 - size
        fd = os.open(
            f"{next(_numbers):06d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640, dir_fd=folder
        )
        os.write(fd, buffer[4:size])
        while left and (size := sock.recv_into(buffer)):
            os.write(fd, buffer[:size])
            left -= size
        if is_synced:
            getattr(os, "fdatasync", os.fsync)(fd)
            os.fsync(folder)
        os.close(fd)
        sock.sendall(b"\0")


def main() -> None:
    """Serve one connection after the other until ended."""
    port, folder = int(sys.argv[1]), os.open(sys.argv[2], os.O_RDONLY)
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            sock, _ = server.accept()
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _copy(sock, folder, "--sync" in sys.argv)


if __name__ == "__main__":
    main()
