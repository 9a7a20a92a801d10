"""How far two computations of one score may lie apart (docs/reproducibility.md). Imports no torch."""

FINE, COARSE = 1e-4, 0.02  # of a score: in float32; in 16 bits or TF32
SMALL = 0.01  # the share is never taken of less than this share of the largest score at hand


def relative(a: float, b: float, largest: float) -> float:
    """|a - b| as a share of the larger of the two, or of SMALL * largest where that is more; 0 for two zeros."""
    size = max(abs(a), abs(b), SMALL * largest)
    return abs(a - b) / size if size else 0.0
