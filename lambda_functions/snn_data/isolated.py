"""Runs work that may break its process in a child process.

The HDF5 library, given a file with a few wrong bytes, may crash, never end, or ask for all memory there is, and no
exception tells of it. The child is a fork: it has everything imported already, so it costs milliseconds. It has limits
of its own for processor time and memory, touches nothing that threads of its parent may have locked, and leaves by
`os._exit`. It guards against accidents and floods; it is no sandbox, the child may do what its parent may.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import math
import os
import pickle  # nosec B403
import resource
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn, TypeVar, cast

T = TypeVar("T")

CPU_SECONDS = 2  # of the child, before `raise_limits`
MEMORY_BYTES = 512 * 2**20  # beside what its parent has
SILENT_SECONDS = 60.0  # then it hangs without computing
BYTES_A_SECOND = 10_000_000  # slower than any reading is
_HEAD, _LENGTH = struct.Struct("<cqq"), struct.Struct("<q")
_ASK, _ANSWER = b"?", b"="
_forking = threading.Lock()


class Broken(Exception):
    """The work broke the process that did it; the message says how."""


class _Gone(Exception):
    """The other end of the connection is gone or silent."""


def isolated(work: Callable[[io.RawIOBase | None], T], lent: BinaryIO | None = None) -> T:
    """Return what `work` returns in a child process: anything that pickles; arrays travel without a copy.

    `work` is given a file that reads from `lent`, through the parent (a connection cannot be shared), or None.
    What reading from `lent` raises goes on to the caller. Raises Broken when the child dies, hangs or lacks memory,
    and RuntimeError with its traceback for an exception of `work`.
    """
    with _forking:  # or a child of another thread's would hold our end of the line open
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: see above
            child = os.fork()
        if child == 0:
            _be_the_child(work, lent, theirs)
        theirs.close()
    done, answer, silent = None, None, False
    try:
        with ours:
            ours.settimeout(SILENT_SECONDS)
            done, answer = _listen(ours, lent)
    except _Gone as gone:
        silent = isinstance(gone.__cause__, TimeoutError)
    finally:
        status = _end(child)
    if silent:
        raise Broken(f"hangs for {SILENT_SECONDS:g} s")
    if done is None:
        raise Broken(_how(status))
    if not done:
        raise RuntimeError(answer)
    if isinstance(answer, MemoryError):
        raise Broken(f"asks for more than {MEMORY_BYTES // 2**20} MB")
    return cast(T, answer)


def raise_limits(nbytes: int) -> None:
    """Give the child what it takes to read so many bytes. To be called in `work`, by which it is known how many."""
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + CPU_SECONDS + nbytes // BYTES_A_SECOND)
    if sys.platform == "linux":  # others know no such limit, and no /proc
        _limit(resource.RLIMIT_AS, _size() + MEMORY_BYTES + nbytes)


def _be_the_child(work: Callable[[io.RawIOBase | None], Any], lent: BinaryIO | None, line: socket.socket) -> NoReturn:
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # what a parent does when it is stopped is not ours to do
        # What other threads of the parent hold open is not ours: we would hold its locks, too.
        os.closerange(3, line.fileno())
        os.closerange(line.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the C library's last words
        _limit(resource.RLIMIT_CORE, 0)
        raise_limits(0)
        try:
            message = True, work(_Lent(line) if lent else None)
        except MemoryError:
            message = True, MemoryError()
        except Exception:
            message = False, traceback.format_exc()
        buffers: list[pickle.PickleBuffer] = []
        try:
            text = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        except Exception:
            text, buffers = pickle.dumps((False, traceback.format_exc())), []
        raws = [buffer.raw() for buffer in buffers]
        line.sendall(_HEAD.pack(_ANSWER, len(text), len(raws)))
        line.sendall(b"".join(_LENGTH.pack(raw.nbytes) for raw in raws) + text)
        for raw in raws:
            line.sendall(raw)
        code = 0
    finally:
        os._exit(code)


def _listen(line: socket.socket, lent: BinaryIO | None) -> tuple[bool, Any]:
    """Serve the child with what it asks of `lent` until it answers; return that."""
    while True:
        kind, first, second = _HEAD.unpack(_receive(line, _HEAD.size))
        if kind == _ANSWER:
            lengths = [_LENGTH.unpack(_receive(line, _LENGTH.size))[0] for _ in range(second)]
            text = _receive(line, first)
            # From the child, which is ourselves: had a file taken it over, it would need no pickle to do what we may.
            answer: tuple[bool, Any] = pickle.loads(  # noqa: S301 # nosec B301
                text, buffers=[_receive(line, length) for length in lengths]
            )
            return answer
        if lent is None:
            raise _Gone
        size = lent.seek(0, io.SEEK_END) if first < 0 else lent.seek(first)
        content = b"" if first < 0 else lent.read(second)
        try:
            line.sendall(_LENGTH.pack(size if first < 0 else len(content)) + content)
        except OSError as error:
            raise _Gone from error


def _receive(line: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    rest = memoryview(content)
    while rest:
        try:
            count = line.recv_into(rest)
        except OSError as error:
            raise _Gone from error
        if not count:
            raise _Gone
        rest = rest[count:]
    return content


class _Lent(io.RawIOBase):
    """In the child: a file of the parent's."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__()
        self._line, self._position = line, 0
        self._size = self._length(-1, 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        length = self._length(self._position, len(wanted))
        wanted[:length] = _receive(self._line, length)
        self._position += length
        return length

    def _length(self, first: int, second: int) -> int:
        self._line.sendall(_HEAD.pack(_ASK, first, second))
        length: int = _LENGTH.unpack(_receive(self._line, _LENGTH.size))[0]
        return length


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _size() -> int:
    """Return the bytes of this process's address space."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _end(child: int) -> int:
    """Wait for a child that has answered, or end it; return its status."""
    for _ in range(20):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _how(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"breaks off (exit code {os.waitstatus_to_exitcode(status)})"
    number = os.WTERMSIG(status)
    return "never ends" if number == signal.SIGXCPU else f"breaks off ({signal.Signals(number).name})"
