"""One's own metric: it joins a benchmark from its file, under a name that a file's name can carry;
its errors are named."""

import hashlib
import json

import pytest
from photographs import astronaut, printed, saved

import run
import run_single_img
from common.errors import UsageError, WorkError
from methods.build import build
from methods.model import Options
from scorefiles.read import parse_name, read, stem

METRIC = '''
def mae(reference, distorted):
    assert reference.shape == distorted.shape and reference.ndim == 3 and 0 <= reference.min() <= reference.max() <= 1
    return (reference - distorted).abs().mean()

def lost(reference, distorted):
    """How much of the reference is gone: not symmetric."""
    return float((reference - distorted).clamp(min=0).numpy().mean())

def similarity(reference, distorted):
    return 1 - (reference - distorted).abs().mean().numpy()
similarity.higher_is = "better"

def broken(reference, distorted):
    return reference @ "x"

def image(reference, distorted):
    return distorted

def odd(reference, distorted):
    return 0.0
odd.higher_is = "up"

def infinite(reference, distorted):
    return float("inf")
'''


@pytest.fixture
def files(tmp_path):
    (tmp_path / "my_metric.py").write_text(METRIC)
    image = astronaut(48, 40)
    return ["-ref", saved(tmp_path, "r.png", image), "-dis", saved(tmp_path, "d.png", image.point(lambda v: v // 2))]


@pytest.mark.numeric
def test_a_function_scores_a_pair(tmp_path, files, capsys):
    import numpy as np

    x = np.asarray(astronaut(48, 40), float) / 255
    mae = np.abs(x - (np.asarray(astronaut(48, 40)) // 2) / 255).mean()
    names = [f"{tmp_path}/my_metric.py:{f}" for f in ("mae", "lost", "similarity")]
    document = json.loads(printed(capsys, *files, "-m", *names, "--json"))
    scores = document["scores"][0]
    assert scores["my_metric-mae"] == pytest.approx(mae, rel=1e-5)
    assert scores["my_metric-lost"] == pytest.approx(mae, rel=1e-5)  # (reference, distorted): the distorted is darker
    assert scores["my_metric-similarity"] == pytest.approx(1 - mae, rel=1e-5)
    assert list(document["settings"]["higher_is"].values()) == ["worse", "worse", "better"]
    digest = hashlib.sha256(METRIC.encode()).hexdigest()
    assert [w["sha256"] for w in document["settings"]["weights"]] == [digest] * 3


@pytest.mark.parametrize(
    "name, expected",
    [
        ("none.py:f", "there is no file"),
        ("my_metric.py:maee", "no function 'maee'; it has mae, lost"),
        ("bad.py:f", "SyntaxError"),
        ("raises.py:f", "cannot be imported: RuntimeError: at import .line 2"),
        ("my_metric.py:odd", "found 'up'"),
        ("my_metric.py:", "no function ''"),
    ],
)
def test_files_without_a_metric(tmp_path, files, name, expected):
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "raises.py").write_text("\nraise RuntimeError('at import')\n")
    with pytest.raises(UsageError, match=expected):
        run_single_img.main([*files, "-m", f"{tmp_path}/{name}"])


@pytest.mark.parametrize(
    "name, expected",
    [
        ("broken", r"my_metric.py:broken failed: TypeError: .* \(line 15\)"),
        ("image", "expected a number, found Tensor"),
        ("infinite", "NaN or infinite"),
    ],
)
def test_what_a_function_gets_wrong_is_named(tmp_path, files, name, expected):
    with pytest.raises(WorkError, match=expected):
        run_single_img.main([*files, "-m", f"{tmp_path}/my_metric.py:{name}"])


def test_a_distance_has_no_meaning(tmp_path, files):
    with pytest.raises(UsageError, match="takes? no distance"):
        run_single_img.main([*files, "-m", f"{tmp_path}/my_metric.py:mae", "-d", "l2"])


def test_a_run_of_it_is_a_score_file_like_any_other(tmp_path, files, capsys):
    """Scored, drawn, read back; a changed file is not taken for the same metric."""
    (tmp_path / "set.csv").write_text("dis,ref,dmos,type\nd.png,r.png,2,dark\nr.png,r.png,1,dark\n")
    argv = ["-dat", str(tmp_path / "set.csv"), "-m", f"{tmp_path}/my_metric.py:similarity"]
    argv += ["-sdir", str(tmp_path / "results"), "--plot"]
    assert run.main(argv) == 0
    assert (
        "plot: " in capsys.readouterr().out
        and (tmp_path / "results" / "set_my_metric-similarity.png").stat().st_size > 5000
    )
    file = read(tmp_path / "results" / "set_my_metric-similarity.csv")
    assert (file.dataset, file.method, file.perturbation, file.sign) == ("set", "my_metric-similarity", "none", -1)
    (tmp_path / "my_metric.py").write_text(METRIC + "# changed\n")
    with pytest.raises(UsageError, match="other settings .*weights"):
        run.main(argv)


def test_perturbations_reach_it(tmp_path, files):
    (model,) = build([f"{tmp_path}/my_metric.py:mae"], [], Options())
    assert model.window is None and model.columns[0].name == "my_metric-mae"
    name = stem("demo", model.columns[0].name, "rot", 1) + ".csv"
    assert parse_name(name) == ("demo", "my_metric-mae", "rot", 1.0)


def test_numbers_stand_where_the_images_are():
    import torch

    from methods import own

    image = torch.empty(3, 4, 4, device="meta")
    assert own.call(lambda reference, distorted: 0.5, "m.py:f", image, image).device.type == "meta"


def test_two_metrics_of_one_name_are_refused(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text("def f(reference, distorted):\n    return 0.0\n")
    with pytest.raises(UsageError, match="same name, m-f"):
        build([f"{tmp_path}/a/m.py:f", f"{tmp_path}/b/m.py:f"], [], Options())
