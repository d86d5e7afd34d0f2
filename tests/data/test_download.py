import fcntl
import gzip
import hashlib
import http.server
import threading
from functools import partial

import numpy as np
import pytest

from polytask.data.archives import plain_digest
from polytask.data.download import Transfer, download
from polytask.errors import DataError

BODY = np.random.default_rng(0).bytes(700_001)
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = Transfer(max_bytes=1 << 20, timeout=5.0, pause=0.0)


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY, and can break off, ignore ranges, hide its length, redirect, or change its mind."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.ranges, self.length, self.breaks, self.asked = BODY, True, True, [], []
        self.redirect = self.status = None

    def handle_error(self, request, client_address):
        """A client that hangs up early is part of the tests."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.redirect or server.status:
            self.send_response(302 if server.redirect else server.status)
            self.send_header("Location", server.redirect or "")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if server.length:
            self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        self.wfile.write(server.body[start : server.breaks.pop(0) if server.breaks else None])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_progress_is_told(server, tmp_path):
    told = []
    path = download(server.url, tmp_path / "deep" / "file", sha256=SHA, transfer=QUICK, progress=lambda *seen: told.append(seen))
    assert path.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_broken_connection_is_continued_where_it_broke(server, tmp_path):
    server.breaks = [100_000, 400_000]
    path = download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=400000-"]


def test_an_interrupted_call_is_continued_by_the_next(server, tmp_path):
    def interrupt(here, total):
        if here > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK, progress=interrupt)
    kept = (tmp_path / "file.partial").stat().st_size
    assert 300_000 < kept < len(BODY)
    assert not (tmp_path / "file").exists()
    assert download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK).read_bytes() == BODY
    assert server.asked[-1] == f"bytes={kept}-"
    assert not (tmp_path / "file.partial").exists()


def test_a_server_that_knows_no_ranges_starts_anew(server, tmp_path):
    server.ranges, server.breaks = False, [100_000]
    assert download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK).read_bytes() == BODY


def test_all_bytes_were_here_already(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(BODY)
    assert download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK).read_bytes() == BODY


@pytest.mark.parametrize("kept", [b"x" * 300_000, b"x" * len(BODY), b"x" * (len(BODY) + 5)])
def test_bytes_of_another_file_do_not_spoil_the_next_attempt(server, tmp_path, kept):
    (tmp_path / "file.partial").write_bytes(kept)
    assert download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK).read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_the_file_removed(server, tmp_path):
    server.body = BODY[:-1] + b"!"
    received = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(DataError, match=rf"sha256 {SHA}\. Received: {received}\. It was removed"):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_leaves_the_old_one(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    server.body = b"wrong"
    with pytest.raises(DataError, match="sha256"):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_what_is_inside_can_be_checked_instead(server, tmp_path):
    server.body = gzip.compress(BODY)
    inside = partial(plain_digest, max_bytes=len(BODY))
    assert download(server.url, tmp_path / "file.gz", sha256=SHA, checksum=inside, transfer=QUICK).read_bytes() == server.body
    server.body = server.body[:1_000]
    with pytest.raises(DataError, match="a damaged file"):
        download(server.url, tmp_path / "other.gz", sha256=SHA, checksum=inside, transfer=QUICK)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.gz"]


@pytest.mark.parametrize(("announced", "words"), [(True, "700,001 bytes announced"), (False, "Received: more")])
def test_a_file_that_is_too_large_is_refused(server, tmp_path, announced, words):
    server.length = announced
    with pytest.raises(DataError, match=words):
        download(server.url, tmp_path / "file", sha256=None, transfer=QUICK._replace(max_bytes=500_000))
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_keeps_breaking_says_what_is_kept(server, tmp_path):
    server.breaks = [50_000] + [50_000] * 9
    with pytest.raises(DataError, match=r"50,000 bytes are kept in .*file\.partial"):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert (tmp_path / "file.partial").stat().st_size == 50_000


def test_a_missing_file_is_named(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match="404 Not Found"):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_no_server_at_all(tmp_path):
    with pytest.raises(DataError, match="must answer"):
        download("http://127.0.0.1:9/file", tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.org/file", "ftp://example.org/file", "file:///etc/passwd", "/etc/passwd"])
def test_only_https_is_fetched(tmp_path, url):
    with pytest.raises(DataError, match="https only"):
        download(url, tmp_path / "file", sha256=SHA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["http://example.org/file", "file:///etc/passwd", "ftp://example.org/file"])
def test_no_redirection_leads_away_from_https(server, tmp_path, target):
    server.redirect = target
    with pytest.raises(DataError):
        download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert not (tmp_path / "file").exists()


def test_two_processes_do_not_write_one_file(server, tmp_path):
    with (tmp_path / "file.partial").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="in use"):
            download(server.url, tmp_path / "file", sha256=SHA, transfer=QUICK)
    assert server.asked == []
