"""Score files being written: nothing lost, nothing mixed.

While a file is unfinished its rows stand in `<stem>.csv.partial` (a shard: `.csv.partial.2of4`), appended in whole lines a
unit at a time, and its settings in `<stem>.json.partial`. When the last row is there the rows are put in the dataset's
order and the file appears under its own name, at once. Before anything is appended the settings are compared: a changed
setting, dataset, weight file or protocol is an error that names it.
"""
import csv
import io
import json
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cli import UsageError, WorkError, one_line, warn
from scorefiles import COLUMNS

SCORING = 1   # raised when the same settings would give other scores than before


def write_atomically(path, text):
    """The file appears complete or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written: {error.strerror or error}; what was scored before is kept") from None


def as_json(document):
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def differences(old, new, prefix=""):
    """['precision: fp32 there, paper now'] of two nested dicts."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {short(a)} there, {short(b)} now")
    return found


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 90 else text[:87] + "..."


class Output:
    """One score file, in whatever state it is on the disk.

    document: what its JSON will hold; of it `settings` must agree for a finished file to be used, `environment` (versions,
    device, batch size) too for a partial one to be continued, so that one file holds one machine's rounding.
    pairs: the dataset's, in order; left_out: those that cannot be scored ({dis: reason}, --skip-bad).
    """

    def __init__(self, folder, stem, document, pairs, shard=None, layers=None):
        self.final, self.json = folder / f"{stem}.csv", folder / f"{stem}.json"
        self.partial = folder / (f"{stem}.csv.partial" + (f".{shard[0]}of{shard[1]}" if shard and shard[1] > 1 else ""))
        self.partial_json = folder / f"{stem}.json.partial"
        self.document, self.layers, self.header = document, layers, None
        self.index = {(p.dis, p.ref): i for i, p in enumerate(pairs)}
        self.pairs, self.done, self.complete = pairs, {}, False
        left_out = document["settings"].get("left_out", {})
        self.needed = {i for i, p in enumerate(pairs) if p.dis not in left_out}

    def open(self, overwrite=False):
        """Read what is there. UsageError where it was made with other settings; overwrite drops it instead."""
        if overwrite:
            for path in (self.final, self.json, self.partial_json, *self.partials()):
                path.unlink(missing_ok=True)
        if self.final.exists():
            self.compare(self.json, self.final, ("settings",))
            self.done, self.complete = self.rows_of(self.final), True
            if set(self.done) != self.needed:
                raise UsageError(f"{self.final}: {len(self.done)} rows, expected {len(self.needed)}; move it away or use --overwrite")
        elif any(path.exists() for path in self.partials()):
            self.compare(self.partial_json, self.partial, ("settings", "environment"))
            self.read_partials()
        return self

    def has(self, indices):
        """Whether the rows of all these pairs are there."""
        return self.complete or all(i in self.done for i in indices)

    def batch_begun(self):
        """The batch size with which a partial file was begun, None where there is none."""
        try:
            return json.loads(self.partial_json.read_text(encoding="utf-8"))["environment"]["batch_size"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def partials(self):
        return sorted(self.final.parent.glob(glob_escape(self.final.name) + ".partial*"))

    def compare(self, path, of, sections):
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{of}: there is no {path.name} beside it that says how it was made; use --overwrite or another -sdir") from None
        except ValueError as error:
            raise UsageError(f"{path}: not readable ({one_line(error)}); use --overwrite or another -sdir") from None
        found = [d for s in sections for d in differences(there.get(s, {}), self.document[s])]
        if found:
            raise UsageError(f"{of}: made with other settings ({'; '.join(found[:4])}{'; ...' if len(found) > 4 else ''}); "
                             "use --overwrite, another -sdir or another -s")

    def read_partials(self):
        self.done = {}
        for path in self.partials():
            self.done |= self.rows_of(path, torn=True)

    def rows_of(self, path, torn=False):
        """{pair index: row} of a file; a last line without its end is left out where `torn` allows it."""
        text = path.read_text(encoding="utf-8")
        if torn:
            text = text[:text.rfind("\n") + 1]
        rows = list(csv.reader(io.StringIO(text)))
        if rows:
            if rows[0][:4] != list(COLUMNS) or self.header not in (None, rows[0]):
                raise UsageError(f"{path}: line 1: expected {','.join(self.header or COLUMNS)}, found {','.join(rows[0])}; use --overwrite")
            self.header = rows[0]
        found = {}
        for line, row in enumerate(rows[1:], 2):
            i = self.index.get(tuple(row[:2]))
            try:
                [float(v) for v in row[2:]]
                sound = i is not None and len(row) == len(self.header)
            except ValueError:
                sound = False
            if not sound:
                raise UsageError(f"{path}: line {line}: not a row of this dataset ({short(row)}); move the file away or use --overwrite")
            found[i] = row
        return found

    def append(self, indices, values):
        """Add the rows of these pairs that are not there yet; values: (n, 1) floats, or (n, 1 + L) with one a block."""
        if self.header is None:
            self.header = [*COLUMNS, *(f"pred_{b}" for b in self.layers or range(len(values[0]) - 1))][:4 + len(values[0]) - 1]
        rows = {i: [self.pairs[i].dis, self.pairs[i].ref, repr(float(self.pairs[i].label)), *(repr(float(v)) for v in row)]
                for i, row in zip(indices, values) if i not in self.done}
        self.done |= rows
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows.values())
        self.write(text.getvalue())

    def write(self, text):
        try:
            if not self.partial_json.exists():
                write_atomically(self.partial_json, as_json(self.document))
            with open(self.partial, "a+b") as file:   # opened for each unit: thousands of files may be under way
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(0)
                    kept = file.read().rfind(b"\n") + 1 if not self.ends_whole(file, end) else end
                    if kept < end:
                        file.truncate(kept)
                    end = kept
                if not end:
                    text = ",".join(self.header) + "\n" + text
                file.seek(0, os.SEEK_END)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WorkError(f"{self.partial}: cannot be written: {error.strerror or error}; the rows written before are kept, "
                            "start again to go on") from None

    @staticmethod
    def ends_whole(file, end):
        file.seek(end - 1)
        return file.read(1) == b"\n"

    def finish(self):
        """Give the file its name if all of its rows are there -> whether it is complete. Shards: whoever is last joins them."""
        if not self.complete and self.needed - set(self.done):
            self.read_partials()
        if self.complete or self.needed - set(self.done):
            return self.complete
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *(self.done[i] for i in sorted(self.needed))])
        write_atomically(self.json, as_json(self.document | {"pairs_used": len(self.needed)}))
        write_atomically(self.final, text.getvalue())
        for path in (*self.partials(), self.partial_json):
            path.unlink(missing_ok=True)
        self.complete = True
        return True


def glob_escape(name):
    import glob
    return glob.escape(name)


@contextmanager
def locked(folder, names):
    """Hold the locks of these files: a second run that writes one of them waits, and says so. The kernel drops the locks of
    a process that dies, so none is ever stale. Taken in sorted order, so that two runs never wait for each other."""
    from filelock import FileLock, Timeout
    with ExitStack() as stack:
        where = Path(folder, ".locks")
        try:
            where.mkdir(parents=True, exist_ok=True)
            for name in sorted(set(names)):
                lock = FileLock(where / f"{name}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    warn(f"another run is writing {Path(folder, name)}; waiting for it to end")
                    lock.acquire()
                stack.callback(lock.release)
        except OSError as error:
            raise UsageError(f"-sdir {folder}: cannot be written to ({error.strerror or error}); choose another folder") from None
        yield


def environment(model, batch):
    """What may change a score's last digits: versions of the packages that computed it, the device, the batch size."""
    import importlib.metadata
    import platform

    def version(package):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None
    packages = ("torch", "torchvision", "timm", "clip-anytorch", "clip", "piq", "stlpips-pytorch", "numpy", "pillow")
    device = model.options.device
    if device.startswith("cuda"):
        import torch
        device = torch.cuda.get_device_name(device)
    return {"python": platform.python_version(), "device": device, "batch_size": batch, "cpu": platform.machine(),
            "versions": {p: v for p in packages if (v := version(p))}}
