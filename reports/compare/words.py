"""The words of compare.py's results that more than one format has: cells, verdicts, families, notes. No arithmetic but
rounding."""

from common.text import count, number
from reports.compare.definitions import COLUMNS, DEFINITIONS
from reports.compare.evidence import STATISTICS, TESTED
from reports.compare.reviewers import TESTS

MARKS = {"better": " +", "worse": " -", "equivalent": " =", "not shown different": "", "undecided": " ?"}
MARKS_TEXT = "+ A is better, - B is better, = equivalent, ? undecided, no mark: not shown different"
LETTERS = (
    "Letters, column by column: two metrics with a letter in common are not shown different; two with none are, the "
    "one with the higher coefficient is better."
)
BY_REFERENCE = {
    "per_reference": "Mean of the references' own coefficients",
    "within": "Within references: the same by Fisher's z, weighted by pairs - 3",
}
FEW_OF_A_TYPE = 10  # references
CHECKS = ("reverses", "holds", "equivalent", "not shown different", "undecided")


def bounds(cell, digits=3):
    """The interval of a cell, [low, high], or [-] where no error can be estimated."""
    if cell["interval"] is None:
        return "[-]"
    low, high = cell["interval"]
    return f"[{number(low, digits)}, {number(high, digits)}]"


def shown(cell, digits=3):
    """A cell as text: value [low, high], a difference with its mark behind it, or "-" where it is refused."""
    if "refused" in cell:
        return "-"
    mark = MARKS[cell["verdict"]] if "verdict" in cell else ""
    return f"{number(cell['value'], digits)} {bounds(cell, digits)}{mark}"


def p_text(p, floor=0.0):
    """p for a reader; at the smallest value that the resamples can give, "<=" before it."""
    if p <= floor * (1 + 1e-9):
        return f"<={p:.1g}".replace("0.", ".")
    return "<.001" if p < 0.001 else f"{p:.3f}"


def verdict_text(cell, family=None):
    """A verdict in words, with what it takes to read it: the margin of a tie, the number of resamples of an open
    one."""
    verdict = cell["verdict"]
    if verdict == "undecided":
        return f"undecided at {family['resamples']} resamples" if family else verdict
    if verdict == "not shown different":
        return f"{verdict} (detectable: {number(cell['detectable'])})"
    return verdict


def family_text(group, scope, settings):
    """What the intervals of a table, that of a scope of evidence.SCOPES, hold for together."""
    family = group["families"][scope]
    if family is None:
        return "no difference has an interval"
    metrics = len(group["metrics"])
    pairs = metrics * (metrics - 1) // 2
    of = count(pairs, "pair") + " of metrics"
    if settings["against"]:
        of = count(metrics - 1, "pair") + f" with {settings['against']}"
    text = (
        f"95 % for {count(family['differences'], 'difference')} at once "
        f"({of} x {', '.join(COLUMNS[name] for name in STATISTICS)}): "
        f"+-{family['critical']:.2f} standard errors, by "
    )
    if family["method"] == "Bonferroni":
        text += "Bonferroni and Student's t"
    else:
        text += f"max-t over {family['resamples']} resamples (Monte-Carlo error {family['critical_error']:.2f})"
    return text + (
        f"; {family['undecided']} undecided at {family['resamples']} resamples" if family["undecided"] else ""
    )


def check_text(check):
    """What a check looks at, in words: 'PLCC fitted per reference'."""
    name, *scope = check["what"].split(" ", 1)
    return " ".join([COLUMNS[name], *scope])


def places(checks):
    """Where checks were made, in short: 'live: PLCC, SRCC per reference; tid2013: types 01 02'."""
    parts = []
    for group in dict.fromkeys(check["group"] for check in checks):
        of_group = [check for check in checks if check["group"] == group]
        types = [check["type"] for check in of_group if check["type"]]
        parts.append(
            f"{group}: "
            + ", ".join(
                [check_text(check) for check in of_group if not check["type"]]
                + (["types " + " ".join(types)] if types else [])
            )
        )
    return "; ".join(parts)


def audit_line(entry):
    """'A beats B: holds in part. Decided in 5 of 17 checks: holds in 5; 9 could see .012. Not shown different in 12
    (..)'."""
    by = {kind: [check for check in entry["checks"] if check["verdict"] == kind] for kind in CHECKS}
    asked = sum(map(len, by.values()))
    decided = len(by["holds"]) + len(by["reverses"])
    text = f"{entry['a']} beats {entry['b']}: {entry['verdict']}. Decided in {decided} of {asked} checks"
    if by["reverses"]:
        text += f"; reverses in {len(by['reverses'])} ({places(by['reverses'])})"
    text += (
        f"; holds in {len(by['holds'])}; {entry['able']} would as a rule have shown a difference of "
        f"{number(entry['claim'])}"
    )
    for kind in ("equivalent", "not shown different", "undecided"):
        if by[kind]:
            text += f"; {kind} in {len(by[kind])} ({places(by[kind])})"
    return f"{text}. Fitted PLCC: {mappings_text(entry['changes'])}"


def mappings_text(changes):
    """Whether the verdicts of the fitted PLCC hang on the mapping: changes as an audit entry has them."""
    if not changes:
        return "the same under every mapping"
    by = {}
    for change in changes:
        by.setdefault((change["mapping"], change["verdict"] or "no value"), []).append(change)
    parts = [] if any(change["verdict"] for change in changes) else ["the same where it has a value"]
    parts += [f"{verdict} under {mapping} ({places(where)})" for (mapping, verdict), where in by.items()]
    return "; ".join(parts)


def reviewers_metrics(group, order):
    """(head, rows) of text: Fisher's intervals and the kurtosis of residuals of each metric."""
    of = group["reviewers"]["metrics"]
    head = ["metric", *(f"{COLUMNS[name]}, Fisher" for name in TESTED), "kurtosis of residuals"]
    return head, [[m, *(fisher_text(of[m][name]) for name in TESTED), kurtosis_text(of[m]["kurtosis"])] for m in order]


def reviewers_pairs(group):
    """(head, rows) of text: the tests of each pair of metrics that have a value in any."""
    rows = group["reviewers"]["pairwise"]
    given = [name for name in TESTS if any("p" in row[name] for row in rows)]
    head = ["A - B", *(DEFINITIONS[name].name for name in given)]
    return head, [[f"{row['a']} - {row['b']}", *(test_text(row[name]) for name in given)] for row in rows if given]


READING = (
    "F above 1 and z above 0: A errs less. p: pairs taken as independent; references: with the error between them."
)
REVIEWERS = "Tests that reviewers ask for, which take pairs of images as independent"


def times_text(reviewers):
    """How far the data are from what the tests assume, in one sentence."""
    times = reviewers["times"]
    if times is None:
        return "None has a value here."
    rows = [row[name] for row in reviewers["pairwise"] for name in TESTS if "p" in row[name]]
    text = (
        f"Here the standard errors between references are {times['least']:.2f} to {times['most']:.2f} times those "
        f"assumed (x, median {times['median']:.2f})"
    )
    if rows:
        text += f"; !: with these, {sum(cell['disagrees'] for cell in rows)} of {len(rows)} tests decide otherwise"
    return f"{text}."


def fisher_text(cell):
    """Fisher's interval with how many times its error is seen between references."""
    return "-" if "refused" in cell else f"{shown(cell)} x{cell['times']:.2f}"


def kurtosis_text(cell):
    if "refused" in cell:
        return "-"
    return f"{cell['value']:.2f}" + ("" if cell["gaussian"] else " not Gaussian")


def test_text(cell):
    """Statistic, p, p with the error between references, how many times that is; ! where the two p disagree."""
    if "refused" in cell:
        return "-"
    both = f"p {p_text(cell['p'])}, references {p_text(cell['p_references'])}"
    return f"{number(cell['statistic'], 2)} {both} x{cell['times']:.2f}" + (" !" if cell["disagrees"] else "")


def spread_lines(spread):
    """What the labels' spreads are, and which images were left out of what needs one; nothing where there is none."""
    if "refused" in spread:
        return
    raters = "" if spread["raters"] is None else f", about {spread['raters']:g} ratings an image"
    yield f"Spread of the labels: {spread['kind']}{raters} ({spread['source']})"
    if spread["zero"]:
        yield (
            f"Zero for {len(spread['zero'])} of {spread['images']} images, which are left out of Krasula's analysis, "
            f"the noise ceiling, RMSE* and outliers: {', '.join(name.rsplit('/', 1)[-1] for name in spread['zero'])}"
        )


FEW_DATASETS = (
    "{} datasets carry little: the interval of a mean over so few is wide, and ranks show only what nearly all agree on"
)


def effect_text(row):
    """A mean difference over datasets in words."""
    if "refused" in row:
        return f"refused: {row['refused']}"
    interval = f"[{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['estimate'])} {interval}, between datasets +-{number(row['between'])}"


def floor_refusal(rows):
    """One sentence on the noise floors that are not there, or nothing."""
    missing = [row["floor"]["refused"] for row in rows if "refused" in row["floor"]]
    return f"Noise floor refused for {len(missing)} of {len(rows)}: {missing[0]}" if missing else ""


UNBOUNDED = {
    "low": "unbounded at the low end",
    "high": "unbounded at the high end",
    "both": "unbounded at both ends",
    "step": "unbounded: a step",
}
UNBOUNDED_NOTE = (
    "unbounded: at that end of the predictions (low, high) the labels do not level off; the curve is good, its "
    "parameters are arbitrary."
)


def type_notes(group):
    """What the coefficients by type are too few for, in sentences."""
    sizes = {}
    for kind, of_type in group["types"].items():
        if "coefficients" in of_type and of_type["references"] < FEW_OF_A_TYPE:
            sizes.setdefault(of_type["references"], []).append(kind)
    for references, kinds in sizes.items():
        yield (
            f"warning: type{'s' * (len(kinds) > 1)} {', '.join(kinds)}: {count(references, 'reference')} tell little "
            "of others; where all of them agree, [-] stands in place of an interval: that is no certainty"
        )


def parameters_text(fit):
    """The parameters of a fit, or why they say nothing."""
    if "refused" in fit:
        return f"withheld: {fit['refused']}"
    if fit["unbounded"]:
        return UNBOUNDED[fit["unbounded"]]
    return " ".join(f"{b:.4g}" for b in fit["parameters"]) + (" (kept monotonic)" if fit["constrained"] else "")


def ceiling_row(group, name):
    """[one row with what a perfect metric could reach], or none where the labels' spread is not known."""
    if "refused" in group["ceiling"]:
        return []
    return [[name] + [number(group["ceiling"][statistic]) for statistic in STATISTICS]]
