"""Where things are: the project, and the folder of reference material that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # not part of the project: a test that needs it skips, saying so, where it is not there
GOLDEN = ROOT / "tests" / "golden"
