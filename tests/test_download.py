"""networks/download.py: files arrive whole or not at all, caches are used, and no network is one clear error within seconds."""
import hashlib
import http.server
import socket
import threading
import time
from pathlib import Path

import pytest

from common.errors import UsageError, WorkError
from networks import download
from networks.weights import Weights, find


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine: server.files = {path: bytes}, server.asked = [paths], server.short = bytes held back."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            found.asked.append(self.path)
            content = found.files.get(self.path)
            if content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:len(content) - found.short])

        def log_message(self, *args):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.files, found.asked, found.short = {}, [], 0
    found.url = f"http://127.0.0.1:{found.server_port}"
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    download._unreachable.cache_clear()
    yield found
    found.shutdown()
    found.server_close()


def leftovers(folder):
    return sorted(p.name for p in Path(folder).rglob("*") if p.is_file())


def test_download_goes_to_the_torch_cache_once(server, tmp_path):
    server.files["/net-1.pth"] = b"weights"
    net = Weights("net", f"{server.url}/net-1.pth", sha256=hashlib.sha256(b"weights").hexdigest()[:8])
    path = download.resolve(net)
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / "net-1.pth" and path.read_bytes() == b"weights"
    assert download.resolve(net) == path and server.asked == ["/net-1.pth"]
    path.write_bytes(b"spoiled")
    with pytest.raises(UsageError, match="net-1.pth: sha256.*published.*delete it"):
        download.resolve(net)


@pytest.mark.parametrize("short, sha256, told", [(0, "00000000", "not kept.*published 00000000"), (3, None, "4 of 7 bytes")])
def test_a_bad_download_is_not_kept(server, tmp_path, short, sha256, told):
    server.files["/net-1.pth"], server.short = b"weights", short
    with pytest.raises((WorkError, UsageError), match=told):
        download.resolve(Weights("net", f"{server.url}/net-1.pth", sha256=sha256))
    assert leftovers(tmp_path) == []


def test_fetch_keeps_what_is_there_and_names_what_failed(server, tmp_path):
    server.files |= {"/a-1.pth": b"aa", "/b-1.pt": b"bb"}
    a, b = Weights("a", f"{server.url}/a-1.pth", sha256=hashlib.sha256(b"aa").hexdigest()), Weights("b", f"{server.url}/b-1.pt")
    folder = tmp_path / "weights"
    assert [(w.name, p.name, what) for w, p, what in download.fetch([a, b, a], folder)] == [
        ("a", "a.pth", "fetched"), ("b", "b.pt", "fetched")]
    assert [what for _, _, what in download.fetch([a, b], folder)] == ["kept", "kept"] and len(server.asked) == 2
    assert find(a, folder).read_bytes() == b"aa"
    with pytest.raises(WorkError, match=r"1 of 3 files not fetched: .*HTTP Error 404.*c-1\.pth.*--weights-dir"):
        download.fetch([Weights("c", f"{server.url}/c-1.pth"), a, b], folder)
    (folder / "a.pth").write_bytes(b"other")
    with pytest.raises(UsageError, match="a.pth: not the published file"):
        download.fetch([a], folder)
    assert leftovers(folder) == ["a.pth", "b.pt"]


def timed_error(net):
    download._unreachable.cache_clear()
    start = time.monotonic()
    with pytest.raises(UsageError, match=r"net: no weights.*Get .* save it as DIR/net\.\w+, and add --weights-dir DIR") as told:
        download.resolve(net)
    assert time.monotonic() - start < 8   # the promise is 10 seconds, imports included
    return str(told.value)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    import huggingface_hub.constants as hub
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return hub


def test_no_network_is_one_error_soon(offline, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "refused" in timed_error(Weights("net", f"{url}/net-1.pth"))
        monkeypatch.setattr(offline, "ENDPOINT", url)
        assert "huggingface.co/timm/net (model.safetensors)" in timed_error(Weights("net", hub="timm/net"))
    monkeypatch.setattr(offline, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in timed_error(Weights("net", hub="timm/net"))


def test_a_network_that_swallows_everything_is_given_up(offline):
    with socket.create_server(("127.0.0.1", 0)) as mute:   # accepts, and never answers
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/net-1.pth"
        timed_error(Weights("net", url))


def test_a_resolver_that_hangs_is_given_up(offline, monkeypatch):
    release = threading.Event()

    def hangs(*args, **kwargs):
        release.wait(30)
        raise socket.gaierror("no such host")
    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    try:
        assert "no answer within 4 seconds" in timed_error(Weights("net", "http://nowhere.invalid/net-1.pth"))
    finally:
        release.set()


def hub_cache(folder, repository, file, content):
    """What huggingface_hub leaves after a download: a snapshot that links to a blob named by its sha256."""
    base = Path(folder, "models--" + repository.replace("/", "--"))
    blob = base / "blobs" / hashlib.sha256(content).hexdigest()
    for path in (blob, base / "refs" / "main", base / "snapshots" / "abc" / file):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    (base / "refs" / "main").write_text("abc")
    (base / "snapshots" / "abc" / file).symlink_to(blob)
    return base / "snapshots" / "abc" / file


def test_the_hub_cache_serves_without_network(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "ENDPOINT", "http://127.0.0.1:9")
    net = Weights("net", hub="timm/net", hub_files=("model.safetensors", "open_clip_model.safetensors"))
    cached = hub_cache(tmp_path / "hub", "timm/net", "open_clip_model.safetensors", b"weights")
    assert download.resolve(net) == cached
    assert download.fetch([net], tmp_path / "mine") == [(net, tmp_path / "mine" / "net.safetensors", "fetched")]
    copy = tmp_path / "mine" / "net.safetensors"
    assert copy.read_bytes() == b"weights" and not copy.is_symlink()


def test_a_damaged_hub_download_is_deleted(server, offline, tmp_path, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(offline, "ENDPOINT", server.url)

    def arrives_damaged(repository, file):
        path = hub_cache(tmp_path / "hub", repository, file, b"weights")
        path.resolve().write_bytes(b"weighty")
        return str(path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", arrives_damaged)
    with pytest.raises(WorkError, match="arrived damaged"):
        download.resolve(Weights("net", hub="timm/net"))
    assert hashlib.sha256(b"weights").hexdigest() not in leftovers(tmp_path)
