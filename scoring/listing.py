"""`run.py --list`: every dataset, method and distance, with weights, where they come from, licence and citation.

Read off the registries, as is the table of methods in the README (`python -m scoring.listing` prints it as Markdown).
"""
from methods import fused
from common.terminal import run_main
from datasets import DATASETS
from distances import DISTANCES, of_blocks
from methods.metrics import METRICS
from models import BACKBONES


def method_rows():
    """[(name, distances, what, weights file, where from, licence, citation, note)] of every method, backbones first."""
    for name, entry in BACKBONES.items():
        distances = " ".join(of_blocks() if entry.kind == "maps" else DISTANCES)
        weights = entry.weights
        if weights is None:
            yield name, distances, entry.what, "-", entry.note, "BSD-2-Clause", METRICS["stlpips_alex"].citation, ""
            continue
        half = "float16 in precision paper" if entry.half else ""
        yield (name, distances, entry.what, f"{weights.name}.pth", weights.origin, weights.licence, weights.citation,
               "; ".join(filter(None, (half, entry.note))))
        if entry.embedding:
            yield (f"embed_{name}", "cos", f"embedding of {name}", f"{weights.name}.pth", weights.origin, weights.licence,
                   weights.citation, half)
    for name, entry in METRICS.items():
        origin = ", ".join(w.origin for w in entry.weights) or (f"inside the package {', '.join(entry.packages)}" if entry.packages else "-")
        yield (name, "-", "metric of the whole image", " ".join(f"{w.name}.pth" for w in entry.weights) or "-", origin, entry.licence,
               entry.citation, entry.note)


def show():
    """Print the registries, an entry a paragraph."""
    print("datasets (-dat)")
    for entry in DATASETS.values():
        print(f"  {entry.name:10} {entry.pairs or '':>6} pairs  {entry.label}; higher is {entry.higher_is}; {entry.citation}")
    print("  FILE.csv          any CSV with dis,ref,mos[,type,std], or the columns of others (docs/datasets.md); paths relative to it")
    print("\ndistances (-d), between the features of a backbone")
    for name, entry in DISTANCES.items():
        print(f"  {name:7} {entry.what}" + (" (transformers only)" if entry.tokens_only else ""))
        if entry.citation:
            print(f"          after {entry.citation}")
    print("\nmethods (-m)")
    for name, takes, what, file, origin, licence, citation, note in method_rows():
        print(f"  {name}: {what}" + (f"; -d {takes}" if takes != "-" else ""))
        print(f"      weights: {file + ', from ' if file != '-' else ''}{origin}" if origin != "-" else "      no weights")
        print(f"      licence: {licence}; cite: {citation}")
        if note:
            print(f"      note: {note}")
    for name, preset in fused.PRESETS.items():
        print(f"  {name}: fused, {preset.expression}\n      exponents: {preset.origin}")
    print("  'A * B^k': any fused metric of factors named as in score files, such as 'stlpips_alex * psnr^0.5'")
    print("  timm:NAME and embed_timm:NAME: any of timm's models that offers intermediates, such as timm:vit_small_patch16_224.dino")


def main(argv):
    print("| method | distances | what | weights file | licence | cite |\n|---|---|---|---|---|---|")
    for name, takes, what, file, origin, licence, citation, note in method_rows():
        print(f"| `{name}` | {takes} | {what}{f' ({note})' if note else ''} | {file if file != '-' else origin} | {licence} | {citation} |")


if __name__ == "__main__":
    run_main(main)
