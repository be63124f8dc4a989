"""Slow and greedy connections to the real web server: everybody else is still answered within seconds."""

import socket
import time
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from qcsite import patient
from qcsite.supervisor import Supervisor, web_answers, web_child

ROOT = Path(__file__).resolve().parent.parent
SLOW = 24  # three times the threads
PAGE = "/accounts/login/"
HEAD = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
FORM = HEAD + b"Content-Type: application/x-www-form-urlencoded\r\n"
UPLOAD = b"POST /api/v1/scans/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\n'
OPENINGS = {
    "nothing": b"",
    "half a line": b"GET /acc",
    "headers without end": b"GET /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
    "a small body": FORM + b"Content-Length: 500\r\n\r\nlogin=",
    "a larger body": FORM + b"Content-Length: 900000\r\n\r\nlogin=",
    "a chunked body": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nlog",
    "a huge body": HEAD + MULTIPART + b"Content-Length: 9000000000\r\n\r\n" + PART,
    "an upload of a stranger": UPLOAD + MULTIPART + b"Content-Length: 9000000\r\n\r\n" + PART,
    "half of a second request": b"GET /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /acc",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A web server of one process; its tables are missing, which the log-in page does not mind."""
    folder = tmp_path_factory.mktemp("site")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    supervisor = Supervisor([])
    child = web_child("127.0.0.1", number, 1)
    child.environment |= {"QC_DATA_DIR": str(folder), "QC_QUEUE_URL": "unix:///nowhere"}
    supervisor.start(child)
    try:
        assert supervisor.wait_until(lambda: web_answers("127.0.0.1", number), "the web server")
        yield number
    finally:
        supervisor.stop()


@contextmanager
def opened(port, opening, count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for one in sockets:
            one.sendall(opening)
        yield sockets


def asked(port, method="GET", path=PAGE, body=None, **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=8)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_slow_connections_do_not_stop_the_site(port, opening):
    with opened(port, opening, SLOW):
        time.sleep(0.3)
        for _ in range(3):
            assert asked(port)[0] == 200


def test_a_connection_that_says_nothing_more_is_closed(port):
    with opened(port, OPENINGS["headers without end"], 1) as (one,):
        one.settimeout(20)
        assert one.recv(100) == b""


def test_many_more_than_can_wait_only_push_each_other_out(port):
    with opened(port, b"GET /", 400):
        assert asked(port)[0] == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (PAGE, {"Content-Length": "2000000"}, 413),
        (PAGE, {"Content-Length": "20000000000"}, 413),
        (PAGE, {"Transfer-Encoding": "chunked"}, 411),
        ("/api/v1/scans", {"Content-Length": "2000000"}, 413),
        ("/api/v1/scans/upload", {"Content-Length": "2000000"}, 401),
        ("/api/v1/scans/upload", {"Content-Length": "2000000000"}, 413),
        ("/api/v1/scans/upload", {"Transfer-Encoding": "chunked"}, 411),
        ("/no/such/page/", {"Content-Length": "2000000"}, 413),
        ("/api/v1/scans/upload/", {"Content-Length": "2000000"}, 413),
    ],
)
def test_bodies_are_refused_by_what_the_headers_say(port, path, headers, status):
    """Answered before anything of the body is sent, so nothing of it can have been read or kept."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    opening = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}{MULTIPART.decode()}\r\n"
    with opened(port, opening.encode(), 1) as (one,):
        one.settimeout(8)
        assert one.recv(100).split()[1] == str(status).encode()


def test_requests_one_after_the_other_and_all_at_once(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=8)
    for _ in range(3):
        connection.request("GET", PAGE)
        assert connection.getresponse().read()
    connection.close()
    with opened(port, b"GET /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 3, 1) as (one,):
        one.settimeout(8)
        found = b""
        while found.count(b"HTTP/1.1 200") < 3 or not found.endswith(b"</html>\n"):
            found += one.recv(65536)


def test_a_large_file_arrives_whole(port):
    big = max((ROOT / "static" / "vendor").rglob("*.js"), key=lambda path: path.stat().st_size)
    assert big.stat().st_size > 1 << 20
    status, content = asked(port, path=f"/static/{big.relative_to(ROOT / 'static')}")
    assert (status, content) == (200, big.read_bytes())


@pytest.mark.parametrize("act", ["recv", "sendall", "sendfile"])
def test_whoever_moves_next_to_nothing_is_reset(monkeypatch, tmp_path, act):
    monkeypatch.setattr(patient, "GRACE_SECONDS", 0.3)
    (tmp_path / "big").write_bytes(bytes(20 << 20))
    ours, theirs = socket.socketpair()
    paced = patient.PacedSocket(fileno=ours.detach())
    with paced, theirs, (tmp_path / "big").open("rb") as file:
        paced.begin()
        argument = {"recv": 10, "sendall": bytes(20 << 20), "sendfile": file}[act]
        with pytest.raises(ConnectionResetError):
            getattr(paced, act)(argument)
        assert paced.gettimeout() is None


def test_a_body_that_arrives_in_pieces_is_read_whole(port):
    status, text = asked(
        port, "POST", body=b"login=" + b"a" * 300_000, **{"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert status == 403, text  # there is no CSRF token: the form was read
