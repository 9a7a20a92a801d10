"""`run.py --list`: every dataset, method and distance, with weights, where they come from, licence and citation.

Read off the registries, as is docs/methods.md: `python -m scoring.listing > docs/methods.md`.
"""

from pathlib import Path

from common.terminal import run_main
from datasets import DATASETS
from distances import DISTANCES, of_blocks
from methods import fused
from methods.metrics import METRICS
from models import BACKBONES


def method_rows():
    """[(name, distances, what, weights file, where from, licence, citation, note)] of every method, backbones first."""
    for name, entry in BACKBONES.items():
        weights = (entry.weights,) if entry.weights else ()
        trained = entry.weights or METRICS["stlpips_alex"]  # those that come in a package are ST-LPIPS'
        half = "float16 in precision paper" if entry.half else ""
        names = file_names(weights, entry.carried), origins(weights, entry.carried), trained.licence, trained.citation
        distances = " ".join(of_blocks() if entry.kind == "maps" else DISTANCES)
        yield name, distances, entry.what, *names, "; ".join(filter(None, (half, entry.note)))
        if entry.embedding:
            yield f"embed_{name}", "cos", f"embedding of {name}", *names, half
    for name, entry in METRICS.items():
        what = f"metric of the whole image; higher is {entry.higher_is}"
        if entry.min_side > 1:
            what += f"; sides of {entry.min_side} and more"
        if not entry.symmetric:
            what += "; not symmetric"
        names = file_names(entry.weights, entry.carried), origins(entry.weights, entry.carried)
        yield (
            name,
            "-",
            what,
            *names,
            entry.licence,
            entry.citation,
            "; ".join(filter(None, (entry.caveat, entry.note))),
        )


def file_names(weights, carried):
    """The files of trained weights as the table of weights names them: 'dinov1.safetensors or dinov1.pth'."""
    return ", ".join([" or ".join(w.file_names) for w in weights] + [Path(name).name for name in carried]) or "-"


def origins(weights, carried):
    packages = [f"inside the package {name.partition('/')[0]}" for name in carried]
    return ", ".join([w.origin for w in weights] + packages) or "-"


def list_methods() -> list[dict]:
    """Every method that -m takes, a dict each: name, distances (the -d it takes, [] for a metric), what it is,
    weights_file, origin, licence, citation, note. In a notebook: pandas.DataFrame(list_methods())."""
    keys = ("name", "distances", "what", "weights_file", "origin", "licence", "citation", "note")
    rows = [dict(zip(keys, row)) for row in method_rows()]
    return [row | {"distances": [] if row["distances"] == "-" else row["distances"].split()} for row in rows]


def weight_rows():
    """[(name, [source, ...], licence, citation)] of every file of trained weights, each once: those to be had from a
    source (in the order in which they are tried, with their sha256), then those inside installed packages."""
    wanted = [entry.weights for entry in BACKBONES.values() if entry.weights]
    wanted += [weights for entry in METRICS.values() for weights in entry.weights]
    for weights in dict.fromkeys(wanted):
        sources = [f"{source}, sha256 {known(source.sha256)}" for source in weights.sources]
        yield " or ".join(weights.file_names), sources, weights.licence, weights.citation
    carried = {name: entry for entry in METRICS.values() for name in entry.carried}
    for name, entry in carried.items():
        yield Path(name).name, [f"inside the package {name.partition('/')[0]}: {name}"], entry.licence, entry.citation


def known(sha256):
    if not sha256:
        return "not known"
    return sha256 if len(sha256) == 64 else f"{sha256}... (its first digits, as published)"


def show() -> None:
    """Print the registries, an entry a paragraph."""
    print("datasets (-dat)")
    for entry in DATASETS.values():
        print(
            f"  {entry.name:10} {entry.pairs or '':>6} pairs  {entry.label}; higher is {entry.higher_is}; "
            f"{entry.citation}"
        )
        print(f"{'':21}spread of the labels: {entry.spread or 'none: ' + entry.no_spread}")
        if entry.note:
            print(f"{'':21}note: {entry.note}")
    print(
        "  FILE.csv          any CSV with dis,ref,mos[,type,std], or the columns of others (docs/datasets.md); "
        "paths relative to it"
    )
    print("\ndistances (-d), between the features of a backbone")
    for name, entry in DISTANCES.items():
        print(f"  {name:7} {entry.what}" + (" (transformers only)" if entry.tokens_only else ""))
        if entry.citation:
            print(f"          after {entry.citation}")
    print("\nmethods (-m)")
    for name, takes, what, file, origin, licence, citation, note in method_rows():
        print(f"  {name}: {what}" + (f"; -d {takes}" if takes != "-" else ""))
        print(
            f"      weights: {file + ', from ' if file != '-' else ''}{origin}" if origin != "-" else "      no weights"
        )
        print(f"      licence: {licence}; cite: {citation}")
        if note:
            print(f"      note: {note}")
    for name, preset in fused.PRESETS.items():
        print(f"  {name}: fused, {preset.expression}\n      exponents: {preset.origin}")
    print("  'A * B^k': any fused metric of factors named as in score files, such as 'stlpips_alex * psnr^0.5'")
    print(
        "  timm:NAME and embed_timm:NAME: any of timm's models that offers intermediates, such as "
        "timm:vit_small_patch16_224.dino"
    )
    print(
        "  pyiqa:NAME: any full-reference metric of the package pyiqa, where you have installed it "
        "(PolyForm Noncommercial 1.0.0), such as pyiqa:ssim"
    )


HEADER = """# Methods and their weights

Made from the registries by `python -m scoring.listing > docs/methods.md`. An entry in `models.BACKBONES`,
`methods.metrics.METRICS`, `distances.DISTANCES` or `datasets.DATASETS` adds a line here and a choice on the command
line. `-m timm:NAME` and `embed_timm:NAME` score with any of timm's models that offers intermediates, `pyiqa:NAME` with
any full-reference metric of the package pyiqa where it is installed (its licence, PolyForm Noncommercial 1.0.0, is why
it is no requirement). `--whole` shows a backbone whole images instead of windows; its name says so
(`st_alexnet-whole_dc`). A metric's images need sides of the length given, a backbone's those of its window.
What each method computes, to the last detail, is in [METHOD.md](METHOD.md).

| distance | what | for |
|---|---|---|"""
WEIGHTS = """
## Weights

The sources of a file are tried in this order until one gives it; an error names every one that did not. A file is
kept only if its sha256 is the one that stands here, and one from the hub only if it is the one that the hub names.
The hub's copies of OpenAI's CLIP hold the same tensors, some under timm's keys: those are converted when they are
read, rounded to float16 as OpenAI's package does, and computed with QuickGELU whatever the copy is called. Licences
are those of the model cards; "see the model card" where it was not read.

`python run.py --fetch-weights DIR -m METHOD ...` puts the files into DIR with a `SHA256SUMS` (`sha256sum -c
SHA256SUMS` checks it); a run with `--weights-dir DIR` refuses a file that differs from its line there, and downloads
nothing. Your own file goes in as `DIR/<name>.pth`, `.pt` or `.safetensors`. Without `--weights-dir` the caches of
torch.hub (`TORCH_HOME`) and huggingface_hub (`HF_HOME`) are looked through, then the sources tried.
"""


def main(argv):
    print(HEADER)
    for name, entry in DISTANCES.items():
        after = f"; after {entry.citation}" if entry.citation else ""
        print(
            f"| `{name}` | {entry.what}{after} | {'transformers' if entry.tokens_only else 'transformers and CNNs'} |"
        )
    print()
    print("| method | distances | what | weights file | licence | cite |\n|---|---|---|---|---|---|")
    for name, takes, what, file, _, licence, citation, note in method_rows():
        print(f"| `{name}` | {takes} | {what}{f' ({note})' if note else ''} | {file} | {licence} | {citation} |")
    print(WEIGHTS)
    print("| file in --weights-dir | sources | licence | cite |\n|---|---|---|---|")
    for name, sources, licence, citation in weight_rows():
        numbered = [f"{i}. {source}" for i, source in enumerate(sources, 1)] if len(sources) > 1 else sources
        print(f"| `{name}` | {'<br>'.join(numbered)} | {licence} | {citation} |")


if __name__ == "__main__":
    run_main(main)
