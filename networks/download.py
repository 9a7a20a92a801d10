"""Get weight files: from --weights-dir, from the usual cache of their package, or over the network, checked before they
get their name. What a file is called and where it comes from is in weights.py (Weights, Source).

`python run.py --fetch-weights DIR -m METHOD ...` calls fetch(); every run calls resolve(). Files from an https address
are fetched by pooch (a temporary name beside the target, redirects, time limits) into the cache of torch.hub; those of
Hugging Face by huggingface_hub into its own.
"""

import functools
import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from common.errors import UsageError, WorkError, one_line
from common.terminal import progress
from networks.weights import Weights, candidates, ending, find, is_published, sha256, write_sums

ANSWER = 4  # seconds in which a host must answer at all
STALL = 30  # seconds without a byte after which a download is given up


class NotThere(Exception):
    """A source did not give the file; the text is the reason, for the error that names every source."""


def resolve(weights: Weights, weights_dir: Path | str | None = None, method: str = "") -> Path:
    """The file to use: from `weights_dir` if given (never a download then), else the usual cache, else a download.

    method: what was asked for on the command line, for the message. Raises UsageError where it cannot be had.
    """
    if weights_dir:
        return find(weights, weights_dir, method)
    return cached(weights) or download(weights)


def cached(weights) -> Path | None:
    """The file in the cache of its package (torch.hub's, or huggingface_hub's), None if no source has put it there.

    UsageError where it is not the file that its source publishes.
    """
    for source in weights.sources:
        path = _in_hub_cache(source) if source.hub else _in_torch_cache(source)
        if path is not None and path.is_file():
            if not source.gave(path):
                raise UsageError(
                    f"{path}: sha256 {sha256(path)[:16]}..., published {source.sha256[:16]}...; delete it and "
                    "start again"
                )
            return path
    return None


def download(weights, folder=None) -> Path:
    """The file from the first source that gives it: into its cache, or (from an https address) into `folder`.

    Without a network: one UsageError within 5 seconds. It names every source and why it gave nothing.
    """
    for source in weights.sources:
        _probe(_host(source))  # all are asked at once, so that a dead network costs the time of one
    failed = []
    for source in weights.sources:
        try:
            if reason := _unreachable(source):
                raise NotThere(reason)
            if source.hub:
                return _from_hub(source)
            target = Path(folder, weights.name + ending(source.file_names[0])) if folder else _in_torch_cache(source)
            return _from_url(source, target)
        except NotThere as reason:
            failed.append(f"{source}: {reason}")
    raise UsageError(
        f"{weights.name}: no weights: not in the cache, and not to be downloaded: {'; '.join(failed)}. Get it on "
        f"another machine, save it as {' or '.join(f'DIR/{n}' for n in weights.file_names)}, and add --weights-dir DIR"
    )


def fetch(wanted: Sequence[Weights], weights_dir: Path | str) -> list[tuple[Weights, Path, str]]:
    """Put every file of `wanted` (Weights) into `weights_dir` -> [(weights, path, 'fetched' or 'kept')], and the sha256
    of each into SHA256SUMS there.

    A file that is there stays, unless its published hash, or SHA256SUMS, says it is another one (UsageError). What
    cannot be had does not keep the rest from being fetched: one WorkError at the end names all of it.
    """
    folder = Path(weights_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--fetch-weights {folder}: no folder for files ({error.strerror}); choose another") from None
    done, failed = [], []
    for weights in dict.fromkeys(wanted):
        path = find(weights, folder) if candidates(weights, folder) else None
        if path and is_published(weights, path) is False:
            raise UsageError(
                f"{path}: not a published file (its sha256 is {sha256(path)[:16]}...); move it away, or delete it"
            )
        try:
            done.append((weights, path, "kept") if path else (weights, _fetch_one(weights, folder), "fetched"))
        except (UsageError, WorkError) as error:
            failed.append(one_line(error))
        if done:
            write_sums(folder, [path for _, path, _ in done])
    if failed:
        raise WorkError(f"{len(failed)} of {len(done) + len(failed)} files not fetched: " + " | ".join(failed))
    return done


def _fetch_one(weights, folder):
    path = cached(weights) or download(weights, folder)
    target = folder / f"{weights.name}{ending(path.name)}"
    if path == target:
        return path
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(path, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def innermost(error) -> str:
    """The first cause of an exception in one line: 'Connection refused' without the HTTP libraries' layers over it."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return one_line(error)[:150]


# ---- an https address


def _in_torch_cache(source):
    import torch.hub

    return Path(torch.hub.get_dir(), "checkpoints", source.file_names[0])


def _from_url(source, target):
    """source.url as `target`, which appears only when the file is whole and has the published hash -> target."""
    import pooch
    import requests

    def stream(url, part, _):
        with progress(1, "B", target.name) as bar:  # pooch puts the true total in; an unknown one it cannot take
            pooch.HTTPDownloader(bar, chunk_size=2**20, timeout=(ANSWER, STALL))(url, part, None)
        if not source.gave(part):
            raise NotThere(
                f"not kept: it arrived with sha256 {sha256(part)[:16]}..., published {source.sha256[:16]}..."
            )

    pooch.get_logger().setLevel("WARNING")  # its remarks are not for the user of this program
    try:
        pooch.retrieve(source.url, known_hash=None, fname=target.name, path=target.parent, downloader=stream)
        return target
    except requests.HTTPError as error:
        raise NotThere(f"HTTP {error.response.status_code} {error.response.reason}") from None
    except requests.RequestException as error:
        raise NotThere(innermost(error)) from None


# ---- Hugging Face


def _in_hub_cache(source):
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(source.hub, file) for file in source.files)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _from_hub(source):
    """The first of the source's files that its repository has, downloaded into the hub's cache -> Path."""
    from huggingface_hub import errors, hf_hub_download

    for file in source.files:
        try:
            path = Path(hf_hub_download(source.hub, file))
        except errors.LocalEntryNotFoundError as error:  # no connection, though it is a kind of EntryNotFoundError
            raise NotThere(innermost(error)) from None
        except errors.EntryNotFoundError:
            continue
        except errors.HfHubHTTPError as error:  # gated, or gone: the hub says what to do
            raise NotThere(one_line(error)[:300]) from None
        except Exception as error:  # cut off: the hub's library raises OSErrors and those of its HTTP library
            raise NotThere(innermost(error)) from None
        blob = path.resolve()  # large files are named by their sha256 in the hub's cache
        named = blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else source.sha256
        digest = sha256(blob)
        if not (digest.startswith(named) and source.gave(blob)):
            blob.unlink()
            path.unlink(missing_ok=True)
            published = source.sha256 if digest.startswith(named) else named
            raise NotThere(f"not kept: {file} arrived with sha256 {digest[:16]}..., published {published[:16]}...")
        return path
    raise NotThere("the repository has no such file")


# ---- is there a network?


def _host(source):
    address = source.url
    if source.hub:
        from huggingface_hub.constants import ENDPOINT as address
    return "{0.scheme}://{0.netloc}/".format(urlparse(address))


def _unreachable(source):
    """'' if the host of `source` has answered within ANSWER seconds, else the reason."""
    if source.hub:
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set"
    thread, started, reason = _probe(_host(source))
    thread.join(max(0, started + ANSWER - time.monotonic()))
    return reason[0]


@functools.cache
def _probe(host):
    """Start to ask a host whether it is there, once a process -> (thread, when it started, [reason]).

    In a thread, because a resolver that is cut off from its server keeps to no time limit.
    """
    reason = [f"no answer within {ANSWER} seconds"]

    def ask():
        import requests

        try:
            requests.head(host, timeout=ANSWER)  # any answer will do
            reason[0] = ""
        except (OSError, ValueError) as error:
            reason[0] = innermost(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, time.monotonic(), reason
