"""Images and methods -> scores. What a notebook needs (docs/python.md shows it at work):

from scoring import Scorer          # images in memory -> a score; a torch module with gradients
from scoring import score_dataset   # what run.py does: datasets -> score files and a table of correlations
from scoring import list_methods    # every method that can be named
"""


def __getattr__(name):  # torch is imported when it is needed: the command lines import this package for their --help
    if name == "Scorer":
        from scoring.scorer import Scorer

        return Scorer
    if name == "score_dataset":
        from scoring.api import score_dataset

        return score_dataset
    if name == "list_methods":
        from scoring.listing import list_methods

        return list_methods
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
