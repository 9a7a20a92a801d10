"""run.py --precision auto: faster and near enough is taken, all else is not; files that are there are continued."""

import itertools
import json

import pytest
import torch
from small_dataset import call, make, refused

import run_single_img
from common.errors import WorkError
from methods.build import build
from methods.model import AUTO, Options
from scoring import Scorer, precision
from scoring.plan import ImageFile, Plan, default_batch
from scoring.precision import Trial, choice


@pytest.mark.parametrize(
    "seconds, score, chosen",
    [
        (0.5, 10.1, "bf16"),  # twice as fast, 1 % apart
        (0.5, 10.3, "paper"),  # 3 % apart
        (0.9, 10.0, "paper"),  # hardly faster
        (8.0, 10.0, "paper"),  # as on a CPU without AMX
    ],
)
def test_faster_and_within_the_tolerance_is_taken(seconds, score, chosen):
    name, why = choice({"paper": Trial(1.0, (10.0, 5.0)), "bf16": Trial(seconds, (score, 5.0))})
    assert name == chosen and f"bf16 {1 / seconds:.2f} times as fast as paper" in why


def test_the_fastest_that_is_near_enough_is_taken_and_a_failure_is_told():
    trials = {"paper": Trial(1.0, (1.0,)), "tf32": Trial(0.6, (1.0,)), "fp16": Trial(float("inf"), (), "not finite")}
    assert choice(trials)[0] == "tf32" and "fp16 fails (not finite)" in choice(trials)[1]
    assert choice(trials | {"bf16": Trial(0.4, (1.001,))})[0] == "bf16"
    with pytest.raises(WorkError, match="unreadable"):
        choice({"paper": Trial(float("inf"), (), "unreadable")})


def test_scores_near_zero_are_held_against_the_largest():
    assert choice({"paper": Trial(1.0, (1.0, 0.0)), "bf16": Trial(0.5, (1.0, 1e-4))})[0] == "bf16"
    assert choice({"paper": Trial(1.0, (1.0, 0.0)), "bf16": Trial(0.5, (1.0, 1e-3))})[0] == "paper"


@pytest.fixture
def dataset(tmp_path):
    return make(tmp_path / "data", pairs=4, size=(240, 224))


def test_a_trial_scores_the_first_pairs_in_each_precision_and_times_rounds_after_the_first(dataset):
    [model] = build(["st_alexnet"], ["l2"], Options(precision=AUTO))
    images = [ImageFile(str(dataset.parent / f"{name}.png"), 240, 224) for name in ("r0", "d0", "d1", "r1", "d2", "d3")]
    pairs = [(images[1], images[0]), (images[2], images[0]), (images[4], images[3]), (images[5], images[3])]
    plan = Plan(model, pairs, [("tra", 1.0)], None, 2)  # two windows an image: two pairs fill two batches
    # paper's rounds last 9, 2 and 3 seconds, bf16's 1, 4 and 8
    times = iter(itertools.accumulate([0, 9, 0, 2, 0, 3, 0, 1, 0, 4, 0, 8]))
    trials = precision.trials(precision.in_precision(model, "paper"), plan, lambda: next(times))
    assert {name: of_name.seconds for name, of_name in trials.items()} == {"paper": 2, "bf16": 4}
    assert all(len(of_name.scores) == 2 for of_name in trials.values())
    assert trials["paper"].scores == pytest.approx(trials["bf16"].scores, rel=0.1)
    assert trials["paper"].scores != trials["bf16"].scores


def test_on_cuda_and_for_clip_more_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(precision, "trial", lambda model, *_: tried.append(model.options.precision))
    for name, device in (("dinov1", "cuda"), ("clip_vitb32", "cpu"), ("clip_vitb32", "cuda")):
        [model] = build([name], ["l2"], Options(device=device))
        precision.trials(model, Plan(model, [(ImageFile("a", 224, 224),) * 2], [("none", 0.0)], None, 1), None)
    assert tried == ["paper", "tf32", "fp16", "bf16"] + ["paper", "fp32", "bf16"] + [
        "paper",
        "fp32",
        "tf32",
        "fp16",
        "bf16",
    ]


def stated(folder):
    """{file: the precision in its JSON}"""
    return {p.name: json.loads(p.read_text())["settings"]["precision"] for p in sorted(folder.glob("*.json*"))}


def test_a_run_states_the_precision_and_goes_on_in_it(dataset, tmp_path, capsys, monkeypatch):
    asked = []

    def choose(tried):
        asked.append(list(tried))
        return "bf16", "by the test"

    monkeypatch.setattr(precision, "choice", choose)
    command = ["-dat", dataset, "-m", "st_alexnet", "psnr", "-d", "l2", "-sdir", tmp_path / "out", "--precision"]
    code, _, err = call(capsys, *command, "auto", "--limit", 2)
    assert code == 0 and err.count("st_alexnet: --precision auto: bf16, by the test") == 1
    partial = {"tiny_psnr.json.partial": "paper", "tiny_st_alexnet_l2.json.partial": "bf16"}
    assert stated(tmp_path / "out") == partial and asked == [["paper", "bf16"]]
    code, _, err = call(capsys, *command, "auto")
    assert code == 0 and "bf16, as the score files that are there" in err and len(asked) == 1
    assert stated(tmp_path / "out") == {"tiny_psnr.json": "paper", "tiny_st_alexnet_l2.json": "bf16"}
    assert 'precision: "bf16" there, "fp32" now' in refused(capsys, *command, "fp32")
    call(capsys, *command, "auto", "--overwrite")
    assert len(asked) == 2


def test_a_trial_has_the_batch_size_of_the_run(dataset, tmp_path, capsys, monkeypatch):
    batches = []
    monkeypatch.setattr(precision, "trials", lambda model, plan, clock: batches.append(plan.batch))
    monkeypatch.setattr(precision, "choice", lambda tried: ("paper", "by the test"))
    flags = ["-m", "st_alexnet", "-d", "l2", "-sdir", tmp_path / "out", "--precision", "auto", "--dry-run"]
    for asked in ([], ["--batch-size", 3]):
        assert call(capsys, "-dat", dataset, *flags, "--device", "cpu", *asked)[0] == 0
    assert batches == [default_batch("cpu"), 3] and default_batch("cpu") != 3


def test_a_dry_run_makes_the_trial_and_no_file(dataset, tmp_path, capsys):
    flags = ["-m", "st_alexnet", "-d", "l2", "-sdir", tmp_path / "out", "--precision", "auto"]
    code, _, err = call(capsys, "-dat", dataset, *flags, "--dry-run")
    assert code == 0 and "by a trial: bf16 " in err and not (tmp_path / "out").exists()


def test_where_no_trial_is_made_auto_is_refused(dataset, tmp_path, capsys):
    command = ["-dat", dataset, "-m", "st_alexnet", "-d", "l2", "-sdir", tmp_path / "out", "--precision", "auto"]
    assert "the shards of a run must be of one precision; name it" in refused(capsys, *command, "--shard", "1/2")
    pair = ["-ref", "not-there.png", "-dis", "not-there.png", "-m", "st_alexnet", "-d", "l2"]  # before images are read
    line = refused(capsys, *pair, "--precision", "auto", main=run_single_img.main)
    assert "name one of paper, fp32" in line
    with pytest.raises(Exception, match="name one of paper, fp32"):
        Scorer("st_alexnet", "l2", precision="auto")(torch.zeros(3, 224, 224), torch.zeros(3, 224, 224))
