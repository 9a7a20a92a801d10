"""Fused metrics in a run: score files made of the rows of their factors. Complete only when all of the factors are."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UsageError
from methods import fused
from methods.build import factor
from methods.model import ALIGNED, Column, Model
from scorefiles import write
from scorefiles.document import of_fused
from scorefiles.read import stem
from scoring.settings import Run, TableRow


def factors_of(fusion, columns):
    """{factor: its Column} among the columns found. UsageError names the factors that are not there."""
    known = {(c.method, c.distance, c.align != "none"): c for c in columns}
    aligned = {(method, distance, False): c for (method, distance, done), c in known.items() if done}
    known = aligned | known  # under --align all factors are, whether their names say so or not
    lacks = [f for f in fusion.factors if factor(f) not in known]
    if lacks:
        raise UsageError(f"{fusion.name}: cannot be had without its factors {', '.join(lacks)}")
    return {f: known[factor(f)] for f in fusion.factors}


def column(fusion, factors):
    """Its own Column, named as in a file name, with what its factors' names say of other settings: fused2-random."""

    def suffix(name):
        method, distance, aligned = factor(name)
        name_of_factor = factors[name].name.removeprefix(method.replace(":", "-"))
        plain = name_of_factor.removesuffix(ALIGNED)
        return plain.removesuffix(f"_{distance}") + (ALIGNED if plain != name_of_factor and not aligned else "")

    return Column(fusion.label + max(map(suffix, fusion.factors), key=len), fusion.name, None, "fused")


def columns_of(models: Sequence[Model], fusions: Sequence) -> tuple[dict, dict]:
    """What models and fused metrics give -> ({column name: Column}, {column name: (Fused, {factor: Column})} of the
    fused ones)."""
    columns = [column for model in models for column in model.columns]
    factors = {fusion: factors_of(fusion, columns) for fusion in fusions}
    of_fusions = {column(fusion, of_factors): (fusion, of_factors) for fusion, of_factors in factors.items()}
    return {c.name: c for c in [*columns, *of_fusions]}, {c.name: both for c, both in of_fusions.items()}


def scores(fusion, factors, values, where=lambda factor, i: f"{factor}: pair {i + 1}"):
    """Fused scores (N,) from {factor: its scores (N,)}; factors: {factor: Column}. Raises as fused.combine."""
    return fused.combine(fusion, values, {f: c.higher_is for f, c in factors.items()}, where=where)


def of_run(fusion, rows, prepared, run: Run):
    """Write the fused score files of a dataset from the rows of its factors -> [settings.TableRow] for the report.

    rows: those of the run. Only pairs that all factors have are fused; the file stays partial
    until these are all.
    """
    fused_rows, pairs = [], prepared.dataset.pairs
    for perturbation in run.perturbations:
        there = {
            row.column: row.output
            for row in rows
            if row.perturbation == perturbation and row.dataset is prepared.dataset
        }
        factors = factors_of(fusion, there)
        fused_column, outputs = column(fusion, factors), {f: there[c] for f, c in factors.items()}
        made = write.Output(
            Path(run.savedir),
            stem(prepared.dataset.name, fused_column.name, *perturbation, floor=run.noise_floor),
            of_fused(fusion, {f: o.document for f, o in outputs.items()}),
            pairs,
        )
        with write.locked(made.final.parent, [made.partial.name, made.final.name]):
            made.open(run.overwrite)
            todo = sorted(set.intersection(*(set(o.done) for o in outputs.values())) - set(made.done))
            if todo and not made.complete:
                values = scores(
                    fusion,
                    factors,
                    {f: [float(o.done[i][3]) for i in todo] for f, o in outputs.items()},
                    lambda f, i, outputs=outputs, todo=todo: f"{outputs[f].final}: {pairs[todo[i]].dis}",
                )
                made.append(todo, values[:, None])
            made.finish()
        fused_rows.append(TableRow(made, prepared.dataset, fused_column, perturbation))
    return fused_rows
