"""Images and methods -> scores. From Python:

    from scoring import Scorer     # images in memory; a torch module with gradients
"""


def __getattr__(name):   # torch is imported when it is needed: the command lines import this package for their --help
    if name == "Scorer":
        from scoring.scorer import Scorer
        return Scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
