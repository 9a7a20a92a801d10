"""The figures of compare.py's page, drawn by matplotlib as SVG text to be put into HTML. No arithmetic but the
curve's band.

All are about 360 CSS pixels wide, so that a phone shows them as they are and a desktop several side by side.
"""

import io
import re

import numpy as np

from agreement.bootstrap import multiplicities
from agreement.fits import MAPPINGS
from reports.compare.definitions import COLUMNS
from reports.compare.evidence import STATISTICS

WIDTH = 3.7  # inches; SVG counts 96 CSS pixels (72 pt) an inch
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "figure.dpi": 72,
    "savefig.transparent": True,
}
NO_FLIP = {"value": 0.0, "interval": [0.0, 0.0]}  # unperturbed against itself
BLUE, ORANGE, GREY = "#1f5fa8", "#d1661b", "#888888"


def colour(k):
    from matplotlib import colormaps

    return colormaps["tab10" if k < 10 else "Dark2"](k % 10)


def svg(draw, height, name, columns=1, rows=1, **options):
    """Run draw(figure, axes) on a new figure -> SVG text with ids of its own (`name`), so that many fit on a page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]  # keys as literals
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure, figure.subplots(rows, columns, squeeze=False, **options))
        out = io.StringIO()
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, dpi=170
        )
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)


def band(fit, group, m, grid, settings):
    """95 % band (2, G) of the fitted curve over resamples of the references; place and width of the curve stay as
    fitted."""
    xc, xs, yc, ys = fit.scale
    names, member = np.unique(group.references, return_inverse=True)
    basis = MAPPINGS[fit.name].basis((group.predictions[m] - xc) / xs, *fit.place)
    design = np.column_stack([basis, (group.label - yc) / ys])
    products = np.zeros((len(names), design.shape[1], design.shape[1]))
    for c in range(len(names)):
        products[c] = design[member == c].T @ design[member == c]
    total = np.tensordot(multiplicities(len(names), settings.resamples, settings.seed), products, axes=1)
    k = basis.shape[1]
    solved = np.linalg.pinv(total[:, :k, :k]) @ total[:, :k, k:]
    curves = yc + ys * (MAPPINGS[fit.name].basis((grid - xc) / xs, *fit.place) @ solved)[..., 0]
    return np.quantile(curves, [0.025, 0.975], axis=0)


def scatter(measured, m, settings):
    """Predictions and labels of one metric, with the fitted curve and its band."""
    group, fit = measured.group, measured.fits[m][settings.fit]

    def draw(figure, axes):
        ax, x = axes[0, 0], group.predictions[m]
        ax.scatter(x, group.label, s=4 if len(x) < 5000 else 1.5, color=GREY, alpha=0.45, linewidths=0, rasterized=True)
        grid = np.linspace(x.min(), x.max(), 200)
        if fit.usable and not fit.constrained:
            ax.fill_between(grid, *band(fit, group, m, grid, settings), color=ORANGE, alpha=0.35, linewidth=0)
        ax.plot(grid, fit(grid), color=ORANGE, linewidth=1.4, linestyle="-" if fit.usable else ":")
        if (group.label == np.round(group.label)).all() and np.ptp(group.label) < 20:  # levels, as in the demo
            ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set(
            xlabel="prediction, oriented",
            ylabel=f"label (higher is {group.label_higher_is})",
            title=f"{group.metrics[m]} on {group.name}",
        )

    return svg(draw, 2.7, _id("scatter", group.name, group.metrics[m]))


def forest(described, order):
    """Every coefficient of every metric with both intervals and its letters, metrics from top to bottom in `order`."""
    metrics = list(reversed(order))

    def draw(figure, axes):
        for ax, name in zip(axes[:, 0], STATISTICS):
            for k, metric in enumerate(metrics):
                cell = described["coefficients"][metric]["pooled"][name]
                _whisker(ax, cell, k, BLUE)
                if "simultaneous" in cell:
                    ax.plot(cell["simultaneous"], [k, k], color=BLUE, linewidth=0.5)
                share = described["letters"][name].get(metric, "")
                ax.text(1.01, k, share, transform=ax.get_yaxis_transform(), va="center", fontsize=7)
            if name in described["ceiling"]:
                ax.axvline(described["ceiling"][name], color=ORANGE, linewidth=0.8, linestyle="--")
            ax.set_yticks(range(len(metrics)), metrics)
            ax.set_ylim(-0.6, len(metrics) - 0.4)
            ax.set_title(COLUMNS[name], loc="left")
            ax.grid(axis="x", linewidth=0.3)

    return svg(draw, 4 * (0.17 * len(metrics) + 0.45), _id("forest", described["name"]), rows=4, sharex=True)


def ranks(ranking, name):
    """Mean ranks of metrics over datasets (1: best) with Nemenyi's critical difference as a bar from the best one."""
    mean = dict(sorted(ranking["mean"].items(), key=lambda entry: -entry[1]))

    def draw(figure, axes):
        ax = axes[0, 0]
        ax.plot(list(mean.values()), range(len(mean)), "o", color=BLUE, markersize=3.2)
        best = min(mean.values())
        ax.plot([best, best + ranking["critical"]], [len(mean) - 0.3] * 2, color=ORANGE, linewidth=2)
        ax.set_yticks(range(len(mean)), list(mean))
        ax.set(ylim=(-0.6, len(mean)), xlabel="mean rank", title=f"{COLUMNS[name]}: bar: critical difference")
        ax.grid(axis="x", linewidth=0.3)

    return svg(draw, 0.17 * len(mean) + 0.8, _id("ranks", name))


def bars(described, metric):
    """SRCC of one metric by distortion type, as bars with intervals; in brackets the number of references."""
    cells = {
        f"{kind} ({of['references']})": of["coefficients"][metric]["srcc"]
        for kind, of in reversed(described["types"].items())
        if "coefficients" in of
    }

    def draw(figure, axes):
        ax = axes[0, 0]
        for k, cell in enumerate(cells.values()):
            if "value" in cell:
                ax.barh(k, cell["value"], color="#9dbbe0", height=0.75)
                _whisker(ax, cell, k, BLUE)
        ax.set_yticks(range(len(cells)), list(cells))
        lowest = min([cell["interval"][0] for cell in cells.values() if cell.get("interval")], default=0)
        ax.set(
            xlim=(min(0, lowest) - 0.02, 1),
            ylim=(-0.7, len(cells) - 0.3),
            title=f"{metric} on {described['name']}: SRCC by distortion type",
        )
        ax.axvline(0, color="black", linewidth=0.6)

    return svg(draw, 0.16 * len(cells) + 0.7, _id("bars", described["name"], metric))


def curves(rows, dataset, perturbation):
    """SRCC and rank flips of every metric against the magnitude of a perturbation; magnitude 0 is the plain file."""
    rows = sorted(
        (
            row
            for row in rows
            if (row["dataset"], row["perturbation"]) == (dataset, perturbation) and "refused" not in row
        ),
        key=lambda row: row["pct"],
    )
    metrics = list(dict.fromkeys(row["metric"] for row in rows))

    def draw(figure, axes):
        for k, metric in enumerate(metrics):
            of_metric = [row for row in rows if row["metric"] == metric]
            shift = 0.02 * (k - (len(metrics) - 1) / 2)
            series = [(0, of_metric[0]["plain"]["srcc"])] + [
                (row["pct"], row["perturbed"]["srcc"]) for row in of_metric
            ]
            _line(axes[0, 0], series, shift, colour(k), metric)
            _line(
                axes[1, 0],
                [(0, NO_FLIP)] + [(row["pct"], row["flips"]) for row in of_metric],
                shift,
                colour(k),
                None,
            )
        axes[0, 0].set(ylabel="SRCC", title=f"{dataset}, {perturbation}")
        axes[1, 0].set(ylabel="rank flips", xlabel="magnitude (-pct)")
        axes[1, 0].set_ylim(bottom=0)
        axes[1, 0].set_xticks([0] + sorted({row["pct"] for row in rows}))
        figure.legend(loc="outside lower center", ncols=2, frameon=False)

    return (
        svg(draw, 3.6 + 0.14 * ((len(metrics) + 1) // 2), _id("curves", dataset, perturbation), rows=2, sharex=True)
        if rows
        else ""
    )


def _whisker(ax, cell, y, color):
    if "value" in cell:
        if cell["interval"]:
            ax.plot(cell["interval"], [y, y], color=color, linewidth=1.6)
        ax.plot(cell["value"], y, "o", color=color, markersize=3.2)


def _line(ax, series, shift, color, label):
    given = [(x + shift, cell) for x, cell in series if "value" in cell]
    if given:
        ax.plot(
            [x for x, _ in given],
            [cell["value"] for _, cell in given],
            "o-",
            color=color,
            markersize=3,
            linewidth=1,
            label=label,
        )
        for x, cell in given:
            if cell["interval"]:
                ax.plot([x, x], cell["interval"], color=color, linewidth=0.9)


def _id(*parts):
    return re.sub(r"[^\w-]+", "-", "-".join(parts))
