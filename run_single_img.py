"""Score one pair of images, several distorted ones, or folders, from the terminal: the very code path of run.py.

    python run_single_img.py -ref original.png -dis coded.jpg -m dinov1 -d l2
    python run_single_img.py -ref original.png -dis a.jpg b.jpg -m psnr st_vgg16 -d l2 cos --json

Prints one line a distorted image and score. The images need not come from a dataset; any format that Pillow reads will do
(images.py says what happens to 16-bit, grey, palette and transparent ones).
"""
import argparse
import json

import methods
from cli import UsageError, run_main


def add_scoring_arguments(parser):
    """What decides a score, shared by all that scores images without a dataset."""
    parser.add_argument("-m", "--model", nargs="+", required=True, metavar="NAME", help="methods (python run.py --list)")
    parser.add_argument("-d", "--distance", nargs="+", default=[], metavar="NAME", help=" ".join(methods.DISTANCE_NAMES) + "; for backbones")
    parser.add_argument("-r", "--resizeHW", type=int, metavar="N", help="resize both images to N x N first")
    parser.add_argument("--weights-dir", metavar="DIR", help="use DIR/<backbone>.pth (.pt, .safetensors) and download nothing")
    parser.add_argument("--weights", choices=("pretrained", "random"), default="pretrained", help="random: seeded, for trying things out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=methods.models.PRECISIONS, default="paper")
    parser.add_argument("--protocol", choices=("paper", "corrected"), default="paper")
    parser.add_argument("--batch-size", type=int, metavar="N", help="windows at once")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def score_pairs(pairs, args):
    """[(reference path, distorted path)] -> [{column: score}], in order, and the models used. Raises UsageError."""
    import images
    import run
    import scoring
    options = methods.Options(args.weights, args.weights_dir, run.pick_device(args.device), args.precision, args.protocol)
    models = methods.build(args.model, args.distance, options)
    sizes = images.check_all(dict.fromkeys(path for pair in pairs for path in pair))
    plain = [("none", 0.0)]
    side = (args.resizeHW,) * 2 if args.resizeHW else None
    work = [tuple(scoring.Image(str(p), *(side or sizes[p])) for p in (distorted, reference)) for reference, distorted in pairs]
    scores = [{} for _ in pairs]
    for model in models:
        model.files()
        scoring.check_sizes(model, work, [str(d) for _, d in pairs], plain, args.resizeHW)
        plan = scoring.Plan(model, work, plain, args.resizeHW, args.batch_size or scoring.default_batch(options.device))
        for _, unit, values in scoring.score(plan, lambda p, u: model.columns):
            for column, numbers in values.items():
                for i, v in zip(unit, numbers):
                    scores[i][column] = float(v[0])
    return scores, models


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("-ref", "--reference", required=True, metavar="FILE")
    parser.add_argument("-dis", "--distorted", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="scores and settings as JSON")
    add_scoring_arguments(parser)
    args = parser.parse_args(argv)
    scores, models = score_pairs([(args.reference, d) for d in args.distorted], args)
    if args.json:
        print(json.dumps(document(args, scores, models), indent=1))
        return
    for model in models:
        if any(f["name"] == "random" for f in model.files()):
            print(f"{model.name}: random weights, for trying things out: these numbers mean nothing")
    wide = max(len(d) for d in args.distorted)
    for distorted, found in zip(args.distorted, scores):
        for column, value in found.items():
            print(f"{distorted:{wide}}  {column}  {value:.6g}")


def document(args, scores, models):
    import results
    return {"reference": args.reference, "scores": [{"distorted": d, **s} for d, s in zip(args.distorted, scores)],
            "settings": {"protocol": args.protocol, "precision": args.precision, "resizeHW": args.resizeHW,
                         "weights": [f for m in models for f in m.files()],
                         "higher_is": {c.name: c.higher_is for m in models for c in m.columns}},
            "environment": results.environment(models[0], args.batch_size)}


if __name__ == "__main__":
    run_main(main)
