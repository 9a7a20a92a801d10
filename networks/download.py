"""Get weight files: from the usual cache of their package, or over the network, checked, under a temporary name first.

`python run.py --fetch-weights DIR -m METHOD ...` calls fetch(); every run calls resolve().
"""
import functools
import http.client
import os
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from common.errors import UsageError, WorkError, one_line
from common.terminal import progress
from networks.weights import ENDINGS, find, is_published, sha256


def resolve(weights, weights_dir=None):
    """The file to use -> Path: from `weights_dir` if given (never a download then), else the usual cache, else a download."""
    return find(weights, weights_dir) if weights_dir else cached_or_download(weights)


def cached_or_download(weights):
    """The file in the usual cache of its package (torch.hub's, or huggingface_hub's), downloaded if it is not there -> Path.

    Checked by its hash where one is published. Without a network: one UsageError, within 5 seconds.
    """
    path = _hub_file(weights) if weights.hub else _url_file(weights)
    if is_published(weights, path) is False:
        raise UsageError(f"{path}: sha256 {sha256(path)[:16]}..., published {weights.sha256[:16]}...; delete it and start again")
    return path


def fetch(wanted, weights_dir):
    """Put every file of `wanted` (Weights) into `weights_dir` -> [(weights, path, 'fetched' or 'kept')].

    A file that is there stays, unless its published hash says it is another one (UsageError). What cannot be had does not
    keep the rest from being fetched: one WorkError at the end names all of it.
    """
    folder = Path(weights_dir)
    folder.mkdir(parents=True, exist_ok=True)
    done, failed = [], []
    for weights in dict.fromkeys(wanted):
        there = any((folder / f"{weights.name}{ending}").is_file() for ending in ENDINGS)
        path = find(weights, folder) if there else None
        if there and is_published(weights, path) is False:
            raise UsageError(f"{path}: not the published file (sha256 {sha256(path)[:16]}..., published "
                             f"{weights.sha256[:16]}...); move it away, or delete it")
        try:
            done.append((weights, path, "kept") if there else (weights, _fetch_one(weights, folder), "fetched"))
        except (UsageError, WorkError) as error:
            failed.append(one_line(error))
    if failed:
        raise WorkError(f"{len(failed)} of {len(done) + len(failed)} files not fetched: " + " | ".join(failed))
    return done


def _fetch_one(weights, folder):
    if not weights.hub:
        target = folder / f"{weights.name}{Path(urllib.parse.urlparse(weights.url).path).suffix}"
        return _download(weights, target)
    cached = cached_or_download(weights)
    target = folder / f"{weights.name}{'.safetensors' if cached.suffix == '.safetensors' else '.pth'}"
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(cached, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _url_file(weights):
    import torch.hub
    target = Path(torch.hub.get_dir(), "checkpoints", Path(urllib.parse.urlparse(weights.url).path).name)
    return target if target.is_file() else _download(weights, target)


def _hub_file(weights):
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache
    for file in weights.hub_files:
        cached = try_to_load_from_cache(weights.hub, file)
        if isinstance(cached, str):
            return Path(cached)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if reason:
        raise _not_to_be_had(weights, reason)
    for file in weights.hub_files:
        try:
            path = Path(hf_hub_download(weights.hub, file))
        except errors.LocalEntryNotFoundError as error:
            raise _not_to_be_had(weights, one_line(error)[:150]) from None
        except errors.EntryNotFoundError:
            continue
        except errors.HfHubHTTPError as error:   # gated or gone: the hub says what to do
            raise _not_to_be_had(weights, one_line(error)[:300]) from None
        blob = path.resolve()   # large files are named by their sha256 in the hub's cache
        if re.fullmatch("[0-9a-f]{64}", blob.name) and sha256(blob) != blob.name:
            blob.unlink()
            raise WorkError(f"{path}: arrived damaged (its sha256 is not the hub's) and was deleted; start again")
        return path
    raise _not_to_be_had(weights, "the repository has no such file")


def _download(weights, target):
    """Stream weights.url to a temporary name beside `target`, check length and hash, then rename."""
    reason = unreachable(weights.url)
    if reason:
        raise _not_to_be_had(weights, reason)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(weights.url, timeout=30) as answer, open(part, "wb") as out:
            length = int(answer.headers.get("Content-Length") or 0)
            with progress(length or None, "B", target.name) as bar:
                while chunk := answer.read(2**20):
                    out.write(chunk)
                    bar.update(len(chunk))
        if length and part.stat().st_size != length:
            raise WorkError(f"{weights.url}: {part.stat().st_size} of {length} bytes arrived; start again")
        if is_published(weights, part) is False:
            raise WorkError(f"{weights.url}: not kept: it arrived with sha256 {sha256(part)[:16]}..., "
                            f"published {weights.sha256[:16]}...")
        os.replace(part, target)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _not_to_be_had(weights, one_line(error)) from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _not_to_be_had(weights, reason):
    name = f"{weights.name}{'.safetensors' if weights.hub else '.pth'}"
    return UsageError(f"{weights.name}: no weights: not in the cache, and not to be downloaded ({reason}). Get {weights.origin} "
                      f"on another machine, save it as DIR/{name}, and add --weights-dir DIR")


def unreachable(url):
    """'' if the host of `url` answers within 4 seconds, else the reason (asked once a process and host)."""
    return _unreachable("{0.scheme}://{0.netloc}/".format(urllib.parse.urlparse(url)))


@functools.lru_cache(maxsize=None)
def _unreachable(root):
    found = ["no answer within 4 seconds"]

    def probe():   # in a thread: a resolver that is cut off from its server keeps to no timeout
        try:
            urllib.request.urlopen(urllib.request.Request(root, method="HEAD"), timeout=3).close()
            found[0] = ""
        except urllib.error.HTTPError:
            found[0] = ""   # refused our question, but answered
        except (OSError, ValueError) as error:
            found[0] = one_line(getattr(error, "reason", error))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(4)
    return found[0]
