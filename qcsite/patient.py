"""A threaded web worker that slow clients cannot stop: a thread is given to whole requests alone.

Headers and small bodies are gathered in the main loop, where a connection that sends nothing costs nothing, and
within a deadline. In a thread, what is received and sent must keep a minimum rate. Connections are closed in the main
loop too, without waiting there for the other side.
"""

import errno
import re
import socket
import time
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ

from gunicorn import http
from gunicorn.workers.gthread import TConn, ThreadWorker

GATHER_SECONDS = 10.0  # from the first byte of a request to the last of its headers and its small body
LINGER_SECONDS = 2.0
GRACE_SECONDS = 10.0
SLOWEST = 16 << 10  # bytes a second, beyond the grace
PIECE = 64 << 10
SMALL_BODY = (
    1 << 20
)  # as much as any address takes but that for uploads, which knows who asks before it reads
MOST_GATHERED = 64 << 20
MOST_HEAD = 64 << 10
MOST_DISCARDED = 1 << 20
MOST_WAITING = 256  # then the connection that has waited longest goes
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
UNGATHERED = re.compile(rb"\r\n(transfer-encoding|expect|upgrade):", re.IGNORECASE)


class PacedSocket(socket.socket):
    """A connection that is reset when it moves fewer than SLOWEST bytes a second for long."""

    spent, moved = 0.0, 0

    def begin(self) -> None:
        """A new request: the grace begins anew."""
        self.spent, self.moved = 0.0, 0

    def recv(self, *arguments):
        """Received within what is left of the time."""
        data = self._paced(super().recv, *arguments)
        self.moved += len(data)
        return data

    def sendall(self, data, *flags) -> None:
        """Sent in pieces, each within what is left of the time."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self._paced(super().sendall, piece, *flags)
            self.moved += len(piece)

    def sendfile(self, file, offset: int = 0, count: int | None = None) -> int:
        """Sent in pieces too."""
        total = 0
        while count is None or total < count:
            size = PIECE if count is None else min(PIECE, count - total)
            sent = self._paced(super().sendfile, file, offset + total, size)
            if not sent:
                break
            total += sent
            self.moved += sent
        return total

    def _paced(self, act, *arguments):
        before, left = self.gettimeout(), GRACE_SECONDS + self.moved / SLOWEST - self.spent
        started = time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self.settimeout(left if before is None else min(left, before))
            return act(*arguments)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client is too slow") from None
        finally:
            self.spent += time.monotonic() - started
            with suppress(OSError):
                self.settimeout(before)


class Connection(TConn):
    """A connection with what has arrived of its next request."""

    def expect(self, early: bytes, seconds: float) -> None:
        """Wait for a request of which `early` is there."""
        self.early, self.needed, self.deadline = bytearray(early), 0, time.monotonic() + seconds
        self._look(0)

    def add(self, data: bytes) -> None:
        """More of it arrived; the time runs from the first byte."""
        if not self.early:
            self.deadline = time.monotonic() + GATHER_SECONDS
        self.early += data
        self._look(len(self.early) - len(data))

    def _look(self, seen: int) -> None:
        """Once the headers are there, find out how much belongs to the request."""
        if not self.needed and (end := self.early.find(b"\r\n\r\n", max(0, seen - 3))) >= 0:
            head = bytes(self.early[: end + 4])
            length = LENGTH.search(head)
            body = int(length[1]) if length and not UNGATHERED.search(head) else 0
            self.needed = end + 4 + (body if body <= SMALL_BODY else 0)

    @property
    def whole(self) -> bool:
        """Whether a thread can work on it without waiting for more; a large body it reads at a minimum rate."""
        return bool(self.needed) and len(self.early) >= self.needed

    def gathered(self) -> int:
        """Bytes of memory that wait with it."""
        return len(self.early)

    def hand_over(self) -> None:
        """Give what was gathered to the parser."""
        self.sock.setblocking(True)
        self.sock.begin()
        if self.parser is None:
            self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader.unread(bytes(self.early))
        self.early, self.data_ready = bytearray(), True

    def unread_body(self) -> bool:
        """Whether more of the last request's body is to come than has arrived."""
        reader = self.parser.mesg.body.reader
        left = getattr(reader, "length", None)
        return left is None or left > len(self.parser.unreader.buf.getvalue())


class PatientWorker(ThreadWorker):
    """gunicorn's threaded worker with its waiting done in the main loop."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.waiting: dict[Connection, None] = {}  # the one that has waited longest first

    def accept(self, listener) -> None:
        """A new connection waits for its request; where too many wait, the oldest goes."""
        try:
            accepted, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        sock = PacedSocket(fileno=accepted.detach())
        if len(self.waiting) >= MOST_WAITING:
            self._drop(next(iter(self.waiting)))
        self._gather(Connection(self.cfg, sock, client, listener.getsockname()), b"", GATHER_SECONDS)

    def _gather(self, conn: Connection, early: bytes, seconds: float) -> None:
        conn.expect(early, seconds)
        if conn.whole:
            self._submit(conn)
        else:
            self._wait(conn, self._arrived)

    def _wait(self, conn: Connection, callback) -> None:
        conn.sock.setblocking(False)
        self.waiting[conn] = None
        self.poller.register(conn.sock, EVENT_READ, partial(callback, conn))

    def _received(self, conn: Connection) -> bytes | None:
        """What there is now; None when that was nothing. A closed connection is dropped."""
        try:
            data = socket.socket.recv(conn.sock, PIECE)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
        return data or None

    def _arrived(self, conn: Connection, sock) -> None:
        if (data := self._received(conn)) is None:
            return
        conn.add(data)
        if conn.whole:
            self._forget(conn)
            self._submit(conn)
        elif not conn.needed and len(conn.early) > MOST_HEAD:
            self._drop(conn)
        elif len(conn.early) > MOST_HEAD and sum(map(Connection.gathered, self.waiting)) > MOST_GATHERED:
            self._drop(max(self.waiting, key=Connection.gathered))

    def _submit(self, conn: Connection) -> None:
        conn.hand_over()
        self.enqueue_req(conn)

    def finish_request(self, conn: Connection, fs) -> None:
        """The thread is done with it: the next request is waited for, or it is closed."""
        try:
            if not fs.cancelled() and fs.result():
                early = conn.parser.unreader.take_buffered()
                self._gather(conn, early, GATHER_SECONDS if early else self.cfg.keepalive)
            else:
                self._linger(conn)
        except Exception:
            self.log.exception("a connection broke")
            self._drop(conn)

    def _keepalive_after(self, conn: Connection, keepalive) -> bool:
        """A body that nobody read and that has not arrived is not waited for."""
        return bool(keepalive) and not conn.unread_body() and bool(conn.parser.finish_body())

    def _linger(self, conn: Connection) -> None:
        """Let the last answer reach a client that still sends, without waiting for it here."""
        conn.deadline, conn.discarded = time.monotonic() + LINGER_SECONDS, 0
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._wait(conn, self._discard)
        except (OSError, ValueError):  # it is gone already
            self._drop(conn)

    def _discard(self, conn: Connection, sock) -> None:
        if (data := self._received(conn)) is not None:
            conn.discarded += len(data)
            if conn.discarded > MOST_DISCARDED:
                self._drop(conn)

    def _forget(self, conn: Connection) -> None:
        self.waiting.pop(conn, None)
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Close what has waited too long, and while the worker stops whatever has sent nothing."""
        now = time.monotonic()
        for conn in list(self.waiting):
            if conn.deadline <= now or not (self.alive or conn.early):
                self._drop(conn)
