"""From names on the command line to what the engine runs: methods and distances -> models with score columns.

One forward pass is built once, whatever is asked of it (methods/model.py). Nothing is loaded here.
"""

from collections.abc import Sequence
from dataclasses import replace

import models
from common.errors import UsageError, one_line, unknown
from distances import DISTANCES, Features, embedding_cos, of_blocks
from methods import of_pyiqa
from methods.metrics import FEATURES, METRICS
from methods.model import ALIGN, ALIGNED, Column, Model, Options
from methods.own import own_model


def parse(name: str) -> tuple[str, bool]:
    """('embed_dinov1') -> ('dinov1', True): the backbone and whether its embedding is meant."""
    return (name.removeprefix("embed_"), True) if name.startswith("embed_") else (name, False)


def build(methods: Sequence[str], distances: Sequence[str], options: Options) -> list[Model]:
    """Method and distance names -> [Model], one a forward pass, in the order asked for.

    options.device may be "auto": the names are then known to be right before PyTorch is imported to see which devices
    there are, and `on_device` gives the models theirs. Raises UsageError: unknown names (with the nearest known), no
    distance where one is needed, a distance for metrics alone, embeddings without cos, a distance that is not defined
    for a CNN, a precision that the device has not.
    """
    for d in distances:
        if d not in DISTANCES:
            raise unknown("distance", d, DISTANCES)
    if options.align not in ALIGN:
        raise unknown("registration", options.align, ALIGN)
    passes = {}
    for name in dict.fromkeys(methods):
        # what is aligned depends on the smallest side that a method takes: metrics of different ones do not share a
        # pass
        apart = METRICS[name].min_side if options.align != "none" and name in METRICS else None
        passes.setdefault((*pass_of(name), apart), []).append(name)
    if distances and not any(kind == "backbone" for kind, *_ in passes):
        named = list(dict.fromkeys(methods)) or ["score columns and fused metrics"]
        take = "takes" if len(named) == 1 and methods else "take"
        raise UsageError(f"-d {' '.join(distances)}: {', '.join(named)} {take} no distance; leave -d out")
    ds = list(dict.fromkeys(distances))
    built = [MAKERS[kind](key, names, ds, options) for (kind, key, _), names in passes.items()]
    if options.align != "none":
        for model in built:
            model.name += ALIGNED
            model.columns = [replace(c, name=c.name + ALIGNED, align=options.align) for c in model.columns]
    columns = [column.name for model in built for column in model.columns]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise UsageError(
            f"-m {' '.join(methods)}: two of them would have the same name, {twice[0]}; rename one file or function"
        )
    return built if options.device == "auto" else [on_device(model, options.device) for model in built]


def on_device(model: Model, device: str) -> Model:
    """The model on a device: 'cpu', 'cuda' or 'cuda:N'. Nothing is loaded. UsageError for a precision that the device
    has not."""
    models.check_precision(model.options.precision, device)
    if model.options.precision == "bf16" and device == "cpu" and model.columns[0].distance:
        models.warn_of_bfloat16()
    return replace(model, options=replace(model.options, device=device))


def pass_of(name):
    """The forward pass of a method: (a key of MAKERS, what it is built from). UsageError for an unknown method."""
    base = parse(name)[0]
    if name in METRICS:
        return "metric", METRICS[name].features
    if name.startswith(of_pyiqa.PREFIX):
        return "pyiqa", name
    if ".py:" in name:
        return "own", name
    if base in models.BACKBONES or base.startswith("timm:"):
        return "backbone", base
    if name.endswith(".py"):
        raise UsageError(f"-m {name}: expected the name of its function too, as {name}:function")
    embeds = [f"embed_{b}" for b, entry in models.BACKBONES.items() if entry.embedding]
    raise unknown("method", name, [*models.BACKBONES, *METRICS, *embeds], "see --list" + hint_whole(name))


def hint_whole(name):
    """For a name of a score file of whole images, which a flag asks for."""
    return "; leave -whole out of the name and add --whole" if "-whole" in name else ""


def is_column(name):
    """Whether a name is that of a score column with its distance or alignment:
    dinov1_l2, embed_dinov1_cos, psnr-aligned."""
    if name.endswith(ALIGNED):
        return True
    method, _, distance = name.rpartition("_")
    base = parse(method)[0]
    return name not in METRICS and distance in DISTANCES and (base in models.BACKBONES or base.startswith("timm:"))


def factor(name: str) -> tuple[str, str | None, bool]:
    """A score column's name -> method, distance, whether aligned: 'embed_dinov1_cos' -> ('embed_dinov1', 'cos', False),
    'psnr-aligned' -> ('psnr', None, True)."""
    plain = name.removesuffix(ALIGNED)
    if plain in METRICS:
        return plain, None, plain != name
    if is_column(plain):
        method, _, distance = plain.rpartition("_")
        return method, distance, plain != name
    known = [f"{b}_{d}" for b in models.BACKBONES for d in DISTANCES] + [f"embed_{b}_cos" for b in models.BACKBONES]
    raise unknown("factor", name, [*METRICS, *known], "factors are named as in score files" + hint_whole(name))


def with_columns(built: list[Model], names: Sequence[str], options: Options) -> list[Model]:
    """The models, and what score columns of these names take besides: a forward pass a backbone, each column once.

    A name that ends in -aligned is aligned as the options say, or by a similarity where they say nothing.
    """
    for name in dict.fromkeys(names):
        method, distance, aligned = factor(name)
        how = replace(options, align="similarity") if aligned and options.align == "none" else options
        [model] = build([method], [distance] if distance else [], how)
        same = next((m for m in built if share_a_pass(m, model)), None)
        if same is None:
            built.append(model)
        elif model.columns[0].name not in [c.name for c in same.columns]:
            same.columns += model.columns
            same.min_side = max(same.min_side, model.min_side)
    return built


def share_a_pass(one, other):
    """Whether two models can be one, as methods that `build` is given together are."""
    return one.name == other.name and (one.columns[0].align == "none" or one.min_side == other.min_side)


# ---- backbones

# smallest side of a whole image: the coarsest maps of CNNs are 32 times smaller than it; a transformer's tokens, of
# patches of up to 32, are to be enough for the distances between distributions
WHOLE_SIDE = {"maps": 32, "tokens": 64}


def label(name, options):
    """The method's name with everything in it that is not the default: dinov1-random, dinov1-layers0-5."""
    parts = [name.replace(":", "-")]
    if options.weights == "random" and models.backbone(name).weights:
        parts.append("random")
    if options.layers is not None:
        parts.append("layers" + ".".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges(options.layers)))
    if options.normalize != "none":
        parts.append(f"norm-{options.normalize}")
    default = Options()
    if options.window is None:
        parts.append("whole")
    elif (options.window, options.stride) != (default.window, default.stride):
        parts.append(f"window{options.window}-stride{options.stride}")
    return "-".join(parts)


def ranges(numbers):
    """[0, 1, 2, 5] -> [(0, 2), (5, 5)]"""
    spans = []
    for n in sorted(numbers):
        if spans and n == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], n)
        else:
            spans.append((n, n))
    return spans


def backbone_model(base, names, distances, options):
    entry = models.backbone(base)
    method = label(base, options)
    columns = []
    for name in names:
        embedding = parse(name)[1]
        if embedding and not entry.embedding:
            raise UsageError(f"{name}: {base} has no embedding; use -m {base} with -d, one of {', '.join(of_blocks())}")
        if embedding:
            if distances and "cos" not in distances:
                raise UsageError(f"{name}: an embedding takes the distance cos only, found -d {' '.join(distances)}")
            columns.append(
                Column(
                    f"embed_{label(base, replace(options, layers=None))}_cos", name, "cos", "embedding", embedding_cos
                )
            )
            continue
        if not distances:
            raise UsageError(f"-m {name}: a backbone needs a distance, -d with one or more of {', '.join(DISTANCES)}")
        for d in distances:
            if entry.kind == "maps":
                check_maps(name, d)
            if options.per_layer and d not in of_blocks():
                raise UsageError(f"--per-layer: {d} is not made of blocks; it takes {', '.join(of_blocks())}")
            columns.append(Column(f"{method}_{d}", name, d, "features"))
    return Model(
        method,
        options,
        columns,
        options.window,
        (entry.weights,) if entry.weights else (),
        options.window or WHOLE_SIDE.get(entry.kind, max(WHOLE_SIDE.values())),
        None,
        entry.note,
        load_backbone,
        entry.carried,
    )


def check_maps(method, distance):
    if DISTANCES[distance].tokens_only:
        raise UsageError(
            f"-d {distance}: not defined for the maps of a CNN ({method}); it takes {', '.join(of_blocks())}"
        )


def load_backbone(model):
    o = model.options
    # METHOD.md section 9: `corrected` mends CLIP's float16 too
    precision = "fp32" if o.protocol == "corrected" and o.precision == "paper" else o.precision
    wanted = {c.feature for c in model.columns}

    def load():
        loaded = models.load_backbone(
            models_name(model),
            o.weights_dir,
            o.weights,
            o.device,
            precision,
            o.normalize,
            o.window,
            None if o.layers is None else list(o.layers),
        )
        for c in model.columns:
            if loaded.kind == "maps" and c.feature == "features":
                check_maps(c.method, c.distance)
        return lambda x: loaded(x, blocks="features" in wanted, embedding="embedding" in wanted)

    if o.window == Options.window:
        return load()
    import torch

    size = (o.window, o.window) if o.window else (250, 270)
    flag = f"--window {o.window}" if o.window else "--whole"
    try:  # another size is tried at once: trunks refuse it deep in their layers
        features = load()
        with torch.inference_mode():
            features(torch.zeros(1, 3, *size, device=o.device))
    except (RuntimeError, AssertionError) as error:
        what = "windows of that size" if o.window else "images of any size"
        raise UsageError(f"{flag}: {model.name} cannot take {what} ({one_line(error)[:120]})") from None
    return features


def models_name(model: Model) -> str:
    """The name under which models.py knows a model's backbone."""
    return parse(model.columns[0].method)[0]


# ---- metrics


def metric_model(key, names, distances, options):
    entries = [METRICS[name] for name in names]
    random = "-random" if options.weights == "random" and entries[0].weights else ""

    def column(entry):
        def compare(f, g):
            return entry.distance(f.blocks, g.blocks, options.protocol)

        return Column(entry.name + random, entry.name, None, "metric", compare, entry.higher_is)

    return Model(
        key + random,
        options,
        [column(e) for e in entries],
        None,
        entries[0].weights,
        max(e.min_side for e in entries),
        entries[0].short_side.get(options.protocol),
        "; ".join(dict.fromkeys(e.caveat for e in entries if e.caveat)),
        load_metric,
        tuple(dict.fromkeys(name for e in entries for name in e.carried)),
    )


def load_metric(model):
    o = model.options
    key = METRICS[model.columns[0].method].features
    features = FEATURES[key](o.weights_dir, o.device, o.protocol, 0 if model.random else None)
    return lambda x: Features(features(x))


MAKERS = {"backbone": backbone_model, "metric": metric_model, "own": own_model, "pyiqa": of_pyiqa.pyiqa_model}
