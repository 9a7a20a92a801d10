"""networks/download.py: files arrive whole or not at all, caches are used, and no network is one clear error soon."""

import hashlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from places import ROOT

from common.errors import UsageError, WorkError
from networks import download
from networks.weights import Source, Weights, find, read_sums


def sha(content):
    return hashlib.sha256(content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """A web server on this machine. files: {path: bytes}; trouble: {path: 404, 403, "redirect", "truncated", "stall"};
    asked: the paths of its GETs. As a hub it serves /<repository>/resolve/main/<file>."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(head=True)

        def do_GET(self):
            self.server.asked.append(self.path)
            self.answer(head=False)

        def answer(self, head):
            trouble, content = self.server.trouble.get(self.path), self.server.files.get(self.path)
            if isinstance(trouble, int) or content is None and trouble != "redirect":
                status = trouble or 404
                self.send_response(status if self.path != "/" else 200)
                if status == 404:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.end_headers()
                return
            if trouble == "redirect":
                self.send_response(302)
                self.send_header("Location", f"{self.server.url}/elsewhere")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{sha(content)}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not head:
                self.wfile.write(content[:3] if trouble in ("truncated", "stall") else content)
            if trouble == "stall":
                self.server.release.wait(20)

        def log_message(self, *args):
            pass

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.files, self.trouble, self.asked, self.release = {}, {}, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server():
    """A running Server, asked without any proxy, with the caches in a folder of their own (fixture offline)."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """Empty caches, no proxy, no host asked before. -> huggingface_hub.constants, whose ENDPOINT a test may set."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"), raising=False)
    download._probe.cache_clear()
    return constants


@pytest.fixture
def local_hub(server, hub, monkeypatch):
    monkeypatch.setattr(hub, "ENDPOINT", server.url)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    return server


def leftovers(folder):
    return sorted(p.name for p in Path(folder).rglob("*") if p.is_file())


def test_download_goes_to_the_torch_cache_once(server, tmp_path):
    server.files["/net-1.pth"] = b"weights"
    net = Weights("net", (Source(f"{server.url}/net-1.pth", sha256=sha(b"weights")[:8]),))
    path = download.resolve(net)
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / "net-1.pth" and path.read_bytes() == b"weights"
    assert download.resolve(net) == path and server.asked == ["/net-1.pth"]
    path.write_bytes(b"spoiled")
    with pytest.raises(UsageError, match="net-1.pth: sha256.*published.*delete it"):
        download.resolve(net)


# what a source may do instead of giving the file -> what the error says of it
TROUBLES = {
    404: "HTTP 404 Not Found",
    403: "HTTP 403 Forbidden",
    "redirect": "HTTP 404",
    "truncated": r"IncompleteRead\(3 bytes read, 4 more expected\)",
    "stall": "timed out",
    "wrong hash": f"not kept: it arrived with sha256 {sha(b'weights')[:16]}..., published 0000",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_next_source_is_tried_and_each_that_failed_is_named(server, tmp_path, monkeypatch, trouble):
    monkeypatch.setattr(download, "STALL", 0.5)
    server.files |= {"/first.pth": b"weights", "/second.pth": b"weights"}
    server.trouble["/first.pth"] = trouble
    first = Source(f"{server.url}/first.pth", sha256="0000" if trouble == "wrong hash" else "")
    with pytest.raises(
        UsageError,
        match=rf"net: no weights: .*{first.url}: {TROUBLES[trouble]}.*save it as DIR/net.pth, and add --weights-dir",
    ):
        download.resolve(Weights("net", (first,)))
    assert leftovers(tmp_path) == []  # neither half a file under its name nor a temporary one
    net = Weights("net", (first, Source(f"{server.url}/second.pth", sha256=sha(b"weights"))))
    assert download.resolve(net).name == "second.pth" and leftovers(tmp_path) == ["second.pth"]


def test_a_redirect_is_followed(server, tmp_path):
    server.trouble["/net.pth"], server.files["/elsewhere"] = "redirect", b"weights"
    assert download.resolve(Weights("net", (Source(f"{server.url}/net.pth"),))).read_bytes() == b"weights"


def test_the_hub_is_one_more_source(local_hub, tmp_path):
    local_hub.files["/timm/net/resolve/main/open_clip_model.safetensors"] = b"weights"
    source = Source(hub="timm/net", files=("model.safetensors", "open_clip_model.safetensors"))
    net = Weights("net", (Source(f"{local_hub.url}/gone.pt", sha256="0" * 64), source))
    path = download.resolve(net)
    assert (
        path.name == "open_clip_model.safetensors"
        and path.read_bytes() == b"weights"
        and path.is_relative_to(tmp_path / "hub")
    )
    asked = list(local_hub.asked)
    assert download.resolve(net) == path and local_hub.asked == asked  # from the cache


@pytest.mark.parametrize(
    "trouble, message",
    [
        (404, "the repository has no such file"),
        (403, "403"),
        ("wrong hash", "not kept.*published 0000"),
        ("truncated", "received 3 bytes, expected 7"),
    ],
)
def test_trouble_with_the_hub_is_told(local_hub, tmp_path, monkeypatch, trouble, message):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the five more tries that its library makes
    path = "/timm/net/resolve/main/model.safetensors"
    local_hub.files[path], local_hub.trouble[path] = b"weights", trouble
    source = Source(hub="timm/net", sha256="0000" if trouble == "wrong hash" else "")
    with pytest.raises(
        UsageError, match=rf"huggingface.co/timm/net \(model.safetensors\): .*{message}.*save it as DIR/net.safetensors"
    ):
        download.resolve(Weights("net", (source,)))
    assert "model.safetensors" not in leftovers(tmp_path) and sha(b"weights") not in leftovers(tmp_path)


def test_fetch_keeps_what_is_there_and_names_what_failed(server, tmp_path):
    server.files |= {"/a-1.pth": b"aa", "/b-1.pt": b"bb"}
    a = Weights("a", (Source(f"{server.url}/a-1.pth", sha256=sha(b"aa")),))
    b = Weights("b", (Source(f"{server.url}/b-1.pt"),))
    folder = tmp_path / "weights"
    assert [(w.name, p.name, what) for w, p, what in download.fetch([a, b, a], folder)] == [
        ("a", "a.pth", "fetched"),
        ("b", "b.pt", "fetched"),
    ]
    assert [what for _, _, what in download.fetch([a, b], folder)] == ["kept", "kept"] and len(server.asked) == 2
    assert find(a, folder).read_bytes() == b"aa"
    with pytest.raises(WorkError, match=r"1 of 3 files not fetched: .*c-1\.pth: HTTP 404.*--weights-dir"):
        download.fetch([Weights("c", (Source(f"{server.url}/c-1.pth"),)), a, b], folder)
    assert leftovers(folder) == ["SHA256SUMS", "a.pth", "b.pt"]
    (folder / "SHA256SUMS").unlink()
    (folder / "a.pth").write_bytes(b"other")
    with pytest.raises(UsageError, match="a.pth: not a published file"):
        download.fetch([a], folder)


def test_fetch_writes_sums_that_every_run_checks(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.files |= {"/a-1.pth": b"aa", "/b-1.pt": b"bb"}
    a, b = (Weights(name, (Source(f"{server.url}/{file}"),)) for name, file in (("a", "a-1.pth"), ("b", "b-1.pt")))
    download.fetch([a], "weights")  # a relative folder
    download.fetch([b], "weights")
    assert read_sums("weights") == {"a.pth": sha(b"aa"), "b.pt": sha(b"bb")}  # what was fetched before stays listed
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd="weights", check=True)
    assert download.resolve(a, "weights") == Path("weights", "a.pth")
    Path("weights", "a.pth").write_bytes(b"ab")
    with pytest.raises(
        UsageError,
        match=rf"a.pth: sha256 {sha(b'ab')[:16]}.*SHA256SUMS beside it says {sha(b'aa')[:16]}.*fetch it again",
    ):
        download.resolve(a, "weights")
    with pytest.raises(UsageError, match="SHA256SUMS beside it says"):
        download.fetch([a], "weights")
    assert download.resolve(b, "weights").read_bytes() == b"bb"
    Path("weights", "c.pth").write_bytes(b"mine")  # a file of one's own has no line, and needs none
    assert download.resolve(Weights("c"), "weights").read_bytes() == b"mine"
    Path("weights", "SHA256SUMS").write_text("aa  a.pth\n")
    with pytest.raises(UsageError, match="SHA256SUMS, line 1: expected '<sha256>  <file>'"):
        download.resolve(b, "weights")


def test_from_the_command_line(server, tmp_path):
    """--fetch-weights where OpenAI's hosts are out of reach and the hub is this machine: DIR/clip_rn50.safetensors;
    then a run that refuses it once it is changed, and one where nothing can be had at all."""
    server.files["/timm/resnet50_clip.openai/resolve/main/open_clip_model.safetensors"] = b"weights"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hub"),
        "TORCH_HOME": str(tmp_path),
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, ROOT / "run.py"]

    def run(*arguments):
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)

    done = run("--fetch-weights", "W", "-m", "clip_rn50")
    assert (done.returncode, done.stdout) == (0, "W/clip_rn50.safetensors: fetched\n"), done.stderr
    assert read_sums(tmp_path / "W") == {"clip_rn50.safetensors": sha(b"weights")}
    (tmp_path / "W" / "clip_rn50.safetensors").write_bytes(b"weighty")
    done = run("-dat", "demo", "-m", "clip_rn50", "-d", "l2", "--weights-dir", "W", "--device", "cpu")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "SHA256SUMS beside it says" in done.stderr
    done = run("--fetch-weights", "W", "-m", "vgg_none")
    assert done.returncode == 2 and "unknown method" in done.stderr
    server.files.clear()
    environment["HF_HOME"] = str(tmp_path / "empty")
    done = run("--fetch-weights", "V", "-m", "embed_clip_rn50")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and leftovers(tmp_path / "V") == []
    for host in (
        "openaipublic.azureedge.net",
        "openaipublic.blob.core.windows.net",
        "huggingface.co/timm/resnet50_clip.openai",
    ):
        assert host in done.stderr


# ---- no network: nothing is waited for that does not answer, and the caches serve


def error_of(*sources):
    with pytest.raises(
        UsageError, match=r"net: no weights.*Get it .* save it as DIR/net\.\w+, and add --weights-dir DIR"
    ) as message:
        download.resolve(Weights("net", sources))
    assert "\n" not in str(message.value)
    return str(message.value)


def test_no_network_is_one_error(hub, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "Connection refused" in error_of(Source(f"{url}/net-1.pth"))
        monkeypatch.setattr(hub, "ENDPOINT", url)
        assert "huggingface.co/timm/net (model.safetensors): [Errno 111] Connection refused" in error_of(
            Source(hub="timm/net")
        )
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in error_of(Source(hub="timm/net"))


def test_a_network_that_swallows_everything_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "ANSWER", 1.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):  # never answer
        addresses = [f"http://127.0.0.1:{s.getsockname()[1]}/net-1.pth" for s in (mute, other)]
        message = error_of(*map(Source, addresses))
    assert all(f"{address}: " in message for address in addresses)


def test_a_resolver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "ANSWER", 1)
    release = threading.Event()

    def hangs(*args, **kwargs):
        release.wait()  # far beyond any time limit
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    try:
        message = error_of(Source("http://nowhere.invalid/net-1.pth"), Source("http://nowhere2.invalid/net-1.pth"))
        assert message.count("no answer within 1 seconds") == 2
    finally:
        release.set()


def hub_cache(folder, repository, file, content):
    """What huggingface_hub leaves after a download: a snapshot that links to a blob named by its sha256."""
    base = Path(folder, "models--" + repository.replace("/", "--"))
    blob = base / "blobs" / sha(content)
    for path in (blob, base / "refs" / "main", base / "snapshots" / "abc" / file):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    (base / "refs" / "main").write_text("abc")
    (base / "snapshots" / "abc" / file).symlink_to(blob)
    return base / "snapshots" / "abc" / file


def test_the_hub_cache_serves_without_network(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    source = Source(hub="timm/net", files=("model.safetensors", "open_clip_model.safetensors"))
    net = Weights("net", (Source("http://127.0.0.1:9/net.pt"), source))
    cached = hub_cache(tmp_path / "hub", "timm/net", "open_clip_model.safetensors", b"weights")
    assert download.resolve(net) == cached
    assert download.fetch([net], tmp_path / "mine") == [(net, tmp_path / "mine" / "net.safetensors", "fetched")]
    copy = tmp_path / "mine" / "net.safetensors"
    assert copy.read_bytes() == b"weights" and not copy.is_symlink()


def test_a_damaged_hub_download_is_deleted(local_hub, tmp_path, monkeypatch):
    import huggingface_hub

    def arrives_damaged(repository, file):
        path = hub_cache(tmp_path / "hub", repository, file, b"weights")
        path.resolve().write_bytes(b"weighty")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", arrives_damaged)
    with pytest.raises(
        UsageError, match=f"not kept: model.safetensors arrived with sha256 .*published {sha(b'weights')[:16]}"
    ):
        download.resolve(Weights("net", (Source(hub="timm/net"),)))
    assert leftovers(tmp_path) == ["main"]
