"""Which metric agrees better with people, and with what certainty: score files in, results out (see compare.py).

from reports.compare import compare, Settings
from reports.compare.grouping import read_groups
results, measured = compare(read_groups(["live_psnr.csv", "live_fsim.csv"]), Settings())
"""

from common.errors import UsageError
from common.terminal import progress
from common.text import count
from reports.compare.audit import across, audit, stability
from reports.compare.evidence import Settings, describe, measure
from reports.compare.reviewers import reviewed

__all__ = ["Settings", "compare"]

FEW_REFERENCES = 50  # with fewer, the report states how often 95 % intervals held the truth in simulations


def compare(groups: list, settings: Settings) -> tuple[dict, dict]:
    """Groups (grouping.read_groups) -> (results: the dict that --format json prints, {group name:
    evidence.Measured})."""
    measured = {}
    with progress(len(groups), "group", "bootstrap") as bar:
        for group in groups:
            try:
                measured[group.name] = measure(group, settings)
            except ValueError as error:
                raise UsageError(f"{group.name}: {error}") from None
            bar.update()
    described = [
        describe(measurement, settings) | {"reviewers": reviewed(measurement, settings)}
        for measurement in measured.values()
    ]
    for group in described:
        if group["references"] < FEW_REFERENCES:
            group["notes"].append(
                f"{count(group['references'], 'reference')} carry little: intervals are wide (drawn from PIPAL's, 5 "
                "to 50, all differences at once held the truth in 92-97 % of simulations)"
            )
    return {
        "settings": vars(settings),
        "groups": described,
        "stability": stability(measured, settings),
        "audit": audit(described),
        "across": across(described),
    }, measured
