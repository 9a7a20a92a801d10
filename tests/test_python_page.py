"""docs/python.md, block by block, as one would type it in a notebook."""

import os
import re
import subprocess
import sys

from places import ROOT
from small_dataset import bytes_of

PAGE = ROOT / "docs" / "python.md"


def test_the_page_runs_from_top_to_bottom(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 6
    code = "\n".join(blocks)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "10" in done.stdout and "worse" in done.stdout and "(3, 224, 224) True" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tried"]


def test_score_dataset_and_run_py_write_the_same(tmp_path, capsys):
    import run
    from scoring import score_dataset

    flags = {
        "methods": ["psnr", "msssim"],
        "perturbations": ["none", "tra"],
        "limit": 6,
        "savedir": tmp_path / "python",
    }
    result = score_dataset("demo", **flags)
    run.main(
        [
            "-dat",
            "demo",
            "-m",
            "psnr",
            "msssim",
            "-rob",
            "none",
            "tra",
            "--limit",
            "6",
            "-sdir",
            str(tmp_path / "terminal"),
        ]
    )
    python, terminal = (bytes_of(tmp_path / where) for where in ("python", "terminal"))
    assert python == terminal and len(python) == 4 * 3 + 1  # rows, settings and digests of each; correlations.csv
    assert list(result.table["file"]) == [
        f"demo_{m}{p}.csv.partial" for m in ("psnr", "msssim") for p in ("", "_tra-1")
    ]
    assert capsys.readouterr().out.count("6/125") == len(result.lines)


def test_a_coefficient_that_is_not_defined_is_nan_in_the_table(tmp_path):
    """A prediction that is the same for all pairs has no correlation."""
    from small_dataset import make

    from scoring import score_dataset

    code = "def zero(distorted, reference):\n    return 0 * distorted.mean()\n"
    (tmp_path / "constant.py").write_text(code)
    dataset, method = make(tmp_path / "tiny"), f"{tmp_path / 'constant.py'}:zero"
    for methods in ([method], [method, "psnr"]):
        table = score_dataset(dataset, methods=methods, savedir=tmp_path / "out").table
        assert list(table["srcc"].isna()) == [True, False][: len(methods)]
        assert all(table[name].dtype == float for name in ("plcc", "srcc", "krcc"))


def test_what_score_dataset_does_not_know_is_refused(tmp_path):
    import pytest

    from common.errors import UsageError
    from scoring import score_dataset

    with pytest.raises(TypeError, match="'save_dir'"):
        score_dataset("demo", methods=["psnr"], save_dir=tmp_path)
    with pytest.raises(UsageError, match="unknown perturbation 'shift'"):
        score_dataset("demo", methods=["psnr"], perturbations=["shift"])
    with pytest.raises(UsageError, match="-pct 60"):
        score_dataset("demo", methods=["psnr"], perturbations=["tra"], percent=[60])
