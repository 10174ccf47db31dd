"""What the processes of a run tell each other beside tensors: results of the first one, and that one has ended.

A process that waits in a collective learns late, or never, that another one was killed. So each holds a connection to
the first, which the system closes when a process ends, however it ends::

    rank 0  <-- "end", or "error: four.jsonl:3: image must be whole", or nothing --  rank 1
    rank 0  -- "rank 1 ended ..." -->  rank 2
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from dcap.core.errors import DcapError, TrainingError
from dcap.core.log import get_logger, print_error
from dcap.core.words import counted

log = get_logger(__name__)

T = TypeVar("T")

GRACE_S = 20.0
"""A process ends itself this long after another one did, if it has not ended by then: it waits for what never comes."""
CONNECT_S = 20.0
"""The connections are made within this time, or there are none."""
_WORD_S = 1.0  # whoever connects says at once who it is; others must not take the time of the ranks
_NOTICE_S = 10.0  # workers that were forked hold the connection of a killed process for 5 s
_SILENT_S, _PROBE_S, _PROBES = 10, 5, 4  # a machine that is gone is noticed after 30 s


def on_first_rank(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """Do something on the first rank, and return its result, or raise its error, on every one; all must call it.

    Raises:
        DcapError: What `action` raised.
    """
    found: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            found[0] = action()
        except DcapError as error:
            found[1] = error
    broadcast_object_list(found)
    result, failure = found
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


@contextmanager
def watched(accelerator: Accelerator) -> Iterator[None]:
    """End this process with the reason when another process of the run ends before its time; all ranks must enter.

    Where the block is in an operation that fails for that reason, the error is raised there. Where it waits for ever,
    the process is ended after `GRACE_S`. With the block, the processes part.

    Raises:
        TrainingError: Another process has ended.
    """
    watch = _connect(accelerator) if accelerator.num_processes > 1 else _Watch()
    try:
        yield
    except DcapError as error:
        watch.leave(f"error: {error}")
        raise
    except RuntimeError as error:
        # What a collective raises when its peer is gone; the reason may arrive a moment later.
        if watch.is_connected and watch.lost.wait(_NOTICE_S):
            raise TrainingError(watch.reason) from error
        watch.leave(f"error: {error}")
        raise
    except KeyboardInterrupt:
        watch.leave("error: it was interrupted")
        raise
    except BaseException as error:
        watch.leave(f"error: {type(error).__name__}: {error}")
        raise
    else:
        watch.leave("end")
    finally:
        accelerator.end_training()  # may wait for a process that is gone, too
        watch.stop()


class _Watch:
    """The connections of one process."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.reason = ""
        self._peers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._left = False
        self._timer: threading.Timer | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a peer to learn from."""
        return bool(self._peers)

    def follow(self, peer: socket.socket, name: str) -> None:
        """Listen to a peer, in a thread of its own, until it ends.

        Args:
            peer: The connection.
            name: What to call it.
        """
        with self._lock:
            self._peers.append(peer)
            known = self.reason
        if known:  # another one ended while this one still connected
            _send(peer, known)
        threading.Thread(target=self._listen, args=(peer, name), daemon=True).start()

    def leave(self, last_word: str) -> None:
        """Tell the peers that this process ends, and listen no more."""
        with self._lock:
            self._left = True
            peers = list(self._peers)
        for peer in peers:
            _send(peer, last_word)
            with suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        """Let this process live on, whatever became of the others."""
        with self._lock:
            self._left = True
            if self._timer is not None:
                self._timer.cancel()

    def _listen(self, peer: socket.socket, name: str) -> None:
        last_word = ""
        with suppress(OSError, ValueError), peer, peer.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                last_word = json.loads(line)
                if last_word == "end":
                    return
                break
        self._lose(_reason(name, last_word))

    def _lose(self, reason: str) -> None:
        with self._lock:
            if self._left or self.reason:
                return
            self.reason = reason
            self._timer = threading.Timer(GRACE_S, self._end)
            self._timer.daemon = True
            self._timer.start()
            peers = list(self._peers)
        for peer in peers:
            _send(peer, reason)
        self.lost.set()

    def _end(self) -> None:
        print_error(self.reason)
        # Nothing else ends a thread that waits in a collective.
        os._exit(1)


def _reason(name: str, last_word: str) -> str:
    way_out = "The same command resumes from the newest checkpoint"
    if last_word.startswith("error: "):
        return f"{name} ended with an error: {last_word.removeprefix('error: ')}"
    if last_word:
        return last_word
    return f"{name} ended without a word: it was killed, or its machine is gone. {way_out}"


def _send(peer: socket.socket, text: str) -> None:
    with suppress(OSError):
        peer.sendall((json.dumps(text) + "\n").encode())


def _connect(accelerator: Accelerator) -> _Watch:
    """Connect this process with the first one, or the first one with all others, as far as they can be reached."""
    watch, is_first = _Watch(), accelerator.is_main_process
    alone = os.environ.get("LOCAL_WORLD_SIZE") == str(accelerator.num_processes)
    host = "127.0.0.1" if alone else os.environ.get("MASTER_ADDR", "127.0.0.1")
    with ExitStack() as closing:
        server = closing.enter_context(_server(alone)) if is_first else None
        found: list[Any] = [(server.getsockname()[1], secrets.token_hex(16)) if server else None]
        broadcast_object_list(found)
        port, token = found[0]
        if server is not None:
            _accept(server, token, accelerator.num_processes - 1, watch)
            return watch
    try:
        peer = socket.create_connection((host, port), timeout=CONNECT_S)
    except OSError as error:
        log.warning("rank 0 cannot be reached at %s:%d (%s): a process that dies is noticed late", host, port, error)
        return watch
    _send(peer, f"{token} rank {accelerator.process_index} (process {os.getpid()} on {socket.gethostname()})")
    watch.follow(_kept_alive(peer), "rank 0")
    return watch


def _server(alone: bool) -> socket.socket:
    """Return what the other ranks connect to: those of this machine alone, or of any."""
    if alone:
        return socket.create_server(("127.0.0.1", 0))
    both = socket.has_dualstack_ipv6()
    return socket.create_server(("", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)


def _accept(server: socket.socket, token: str, num_peers: int, watch: _Watch) -> None:
    """Take in the other ranks, and nobody else."""
    end = time.monotonic() + CONNECT_S
    while num_peers and (left := end - time.monotonic()) > 0:
        server.settimeout(left)
        with suppress(OSError):
            peer, _ = server.accept()
            peer.settimeout(min(left, _WORD_S))
            given, _, name = _first_line(peer).partition(" ")
            if secrets.compare_digest(given.encode(), token.encode()):
                watch.follow(_kept_alive(peer), name)
                num_peers -= 1
            else:
                peer.close()
    if num_peers:
        log.warning("%s cannot be reached: a process that dies is noticed late", counted(num_peers, "other rank"))


def _first_line(peer: socket.socket) -> str:
    line = b""
    with suppress(OSError):
        while not line.endswith(b"\n") and len(line) < 1000 and (byte := peer.recv(1)):
            line += byte
    try:
        return str(json.loads(line))
    except ValueError:
        return ""


def _kept_alive(peer: socket.socket) -> socket.socket:
    """Let the system notice that the other machine is gone."""
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _SILENT_S), ("TCP_KEEPINTVL", _PROBE_S), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return peer
