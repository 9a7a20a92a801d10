"""What the JSON beside a score file holds: of a method, and of a fused one, which names the settings of its factors.

The environment (write.environment) and, once the file is finished, the number and the digest of its rows
(write.write_finished) are added as they are known.
"""

from collections.abc import Iterable

from methods import fused
from methods.fused import Fused
from scorefiles.read import of_noise_floor, of_random_weights

COMMON = (  # settings of a run rather than of a method
    "scoring",
    "dataset",
    "dataset_sha256",
    "perturbation",
    "pct",
    "resizeHW",
    "protocol",
    "precision",
    "left_out",
)


def document(
    settings: dict,
    *,
    label: str,
    label_higher_is: str,
    label_spread: dict | None,
    pred_higher_is: str,
    pairs_expected: int,
    random_weights: bool,
    noise_floor: bool,
    note: str,
    **more: object,
) -> dict:
    """The JSON of a score file. settings: everything that decides its scores, which must agree for the file to be
    used; all else is for who reads it. more: entries that not every file has."""
    return {
        "settings": settings,
        "label": label,
        "label_higher_is": label_higher_is,
        "label_spread": label_spread,
        "pred_higher_is": pred_higher_is,
        "pairs_expected": pairs_expected,
        "random_weights": random_weights,
        "noise_floor": noise_floor,
        "note": note,
    } | more


def of_fused(fusion: Fused, factors: dict[str, dict]) -> dict:
    """The JSON of a fused score file from those of its factors {name: document}; of COMMON, the settings that all of
    them have alike stand at the top."""
    settings = [d["settings"] for d in factors.values()]
    first, *others = settings
    shared = {key: first[key] for key in COMMON if key in first and all(s.get(key) == first[key] for s in others)}
    of_first = next(iter(factors.values()))
    fused_settings = {
        "method": fusion.name,
        "distance": None,
        "feature": "fused",
        "fused": fusion.expression,
        "floor": fused.FLOOR,
        "weights": each_once(s.get("weights", []) for s in settings),
        "factors": dict(zip(factors, settings)),
    }
    return document(
        shared | fused_settings,
        label=of_first["label"],
        label_higher_is=of_first["label_higher_is"],
        label_spread=of_first.get("label_spread"),
        pred_higher_is="worse",
        pairs_expected=of_first["pairs_expected"],
        random_weights=any(of_random_weights(d) for d in factors.values()),
        noise_floor=of_noise_floor(of_first),
        note=f"{fusion.expression}; exponents {fusion.origin}",
        environment={},
    )


def each_once(lists: Iterable[list]) -> list:
    """The weight files of several factors, each once."""
    weights = []
    for weight in (weight for some in lists for weight in some):
        weights += [] if weight in weights else [weight]
    return weights
