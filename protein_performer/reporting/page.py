"""Runs to one HTML file that needs nothing else: a table beside the paper's, charts, commands."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from plotly.offline import get_plotlyjs

from protein_performer.files import replacing
from protein_performer.reporting.charts import (
    cost_chart,
    learning_curves,
    letters_chart,
    results_chart,
)
from protein_performer.reporting.published import SOURCE, TABLE_2, Published
from protein_performer.reporting.runs import Group, Run, config_differences, group_runs

_FIGURES = (  # of metrics.json, with the paper's name for it
    ("test/accuracy", "test acc., %", "test_accuracy"),
    ("test/perplexity", "test ppl.", "test_perplexity"),
    ("ood/accuracy", "OOD acc., %", "ood_accuracy"),
    ("ood/perplexity", "OOD ppl.", "ood_perplexity"),
)
_COSTS = (
    ("model/parameters", "parameters"),
    ("train/steps", "steps"),
    ("train/seconds", "seconds"),
)


class Cell(NamedTuple):
    """A cell as it is read, and as it is sorted; unknown values are empty."""

    text: str
    value: str
    number: bool


class Row(NamedTuple):
    """A line of the table."""

    cells: list[Cell]
    published: bool


def write_page(runs: Sequence[Run], path: Path, *, title: str = "Runs") -> None:
    """Write the page of these runs.

    Args:
        runs: in the order in which they are listed; seeds of one setting are put together.
        path: of the HTML file.
        title: at its head.
    """
    groups = group_runs(runs)
    objectives = {group.objective for group in groups}
    rows = [_row(group) for group in groups]
    rows += _baseline_rows(groups)
    rows += [_published_row(each) for each in TABLE_2 if each.objective in objectives]
    template = Environment(autoescape=True).from_string(
        files(__package__).joinpath("page.html").read_text()
    )
    with replacing(path) as partial:
        partial.write_text(
            template.render(
                title=title,
                summary=_summary(runs),
                source=SOURCE,
                columns=_columns(),
                rows=rows,
                charts=_charts([group for group in groups if _has_curves(group)]),
                differences=config_differences(runs) if len(runs) > 1 else {},
                runs=[_described(run) for run in runs],
                plotly=get_plotlyjs(),
            )
        )


def _summary(runs: Sequence[Run]) -> str:
    finished = sum(run.state == "finished" for run in runs)
    return f"{len(runs)} runs, {finished} of them finished"


def _columns() -> list[dict[str, Any]]:
    numbers = ["seeds", *(title for _, title, _ in _FIGURES), *(title for _, title in _COSTS)]
    names = [{"title": title, "number": False} for title in ("model", "objective", "setting")]
    return [*names, *({"title": title, "number": True} for title in numbers)]


def _row(group: Group) -> Row:
    figures = [_figure(group, name) for name, *_ in _FIGURES]
    costs = [_cost(group, name) for name, _ in _COSTS]
    unfinished = {run.state for run in group.runs} - {"finished"}
    setting = ", ".join([*group.setting, *sorted(unfinished)])
    seeds = _number(len(group.runs), "{:.0f}")
    return Row(
        [_text(group.model), _text(group.objective), _text(setting), seeds, *figures, *costs], False
    )


def _baseline_rows(groups: Sequence[Group]) -> list[Row]:
    """The empirical baseline, once for each objective."""
    rows: dict[str, Row] = {}
    for group in groups:
        objective = group.objective
        if objective in rows or group.interval("test/empirical_perplexity") is None:
            continue
        names = (name.replace("/", "/empirical_") for name, *_ in _FIGURES)
        figures = [_figure(group, name) for name in names]
        head = [_text("empirical baseline"), _text(objective), _text(""), _unknown()]
        rows[objective] = Row([*head, *figures, *(_unknown() for _ in _COSTS)], False)
    return list(rows.values())


def _published_row(each: Published) -> Row:
    values = each._asdict()
    head = [_text(each.model), _text(each.objective), _text("paper"), _unknown()]
    figures = [_number(values[name], "{:.2f}") for *_, name in _FIGURES]
    return Row([*head, *figures, *(_unknown() for _ in _COSTS)], True)


def _figure(group: Group, name: str) -> Cell:
    interval = group.interval(name)
    if interval is None:
        return _unknown()
    if name.endswith("accuracy"):
        interval = type(interval)(100 * interval.mean, 100 * interval.half_width)
    return Cell(str(interval), repr(interval.mean), True)


def _cost(group: Group, name: str) -> Cell:
    interval = group.interval(name)
    return _unknown() if interval is None else _number(interval.mean, "{:,.0f}")


def _number(value: float, form: str) -> Cell:
    return Cell(form.format(value), repr(value), True)


def _text(value: str) -> Cell:
    return Cell(value, value, False)


def _unknown() -> Cell:
    return Cell("", "", True)


def _has_curves(group: Group) -> bool:
    return any(run.curve("train/loss") for run in group.runs)


def _charts(groups: Sequence[Group]) -> list[dict[str, str]]:
    if not groups:
        return []
    seeds = "One line a run; a click in the legend hides a setting, two clicks show it alone."
    made = (
        ("val", "Validation", seeds, learning_curves(groups, "val/perplexity", "perplexity")),
        ("loss", "Training loss", seeds, learning_curves(groups, "train/loss", "loss, nats")),
        ("sets", "Test and OOD", "Means over seeds with 95 % intervals.", results_chart(groups)),
        ("letters", "Accuracy per letter", "On the test set.", letters_chart(groups)),
        ("cost", "Speed and memory", "Of training, on each run's machine.", cost_chart(groups)),
    )
    return [dict(zip(("name", "title", "caption", "json"), each, strict=True)) for each in made]


def _described(run: Run) -> dict[str, str]:
    reason = run.status.reason if run.status else ""
    folder = str(run.folder)
    return {
        "name": run.folder.name,
        "state": run.state,
        "reason": reason,
        "command": run.command,
        "folder": folder,
    }
