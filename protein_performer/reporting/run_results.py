"""Runs as a published result: one JSON file, and the tables that documents show of it.

A document has a place for each table, between two comments that name the result:

    <!-- results/NAME.json -->
    ...
    <!-- end of results/NAME.json -->
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from protein_performer.errors import UserError
from protein_performer.reporting.results import read_result
from protein_performer.reporting.runs import Group, Interval, Run, group_runs
from protein_performer.reporting.status import Status

_KEPT = re.compile(r"(test|ood)/(empirical_|ngram_)?(accuracy|perplexity|order)|val/perplexity")
_COUNTS = (
    *("train/steps", "train/residues", "train/seconds", "train/distil_seconds"),
    *("model/parameters", "seed"),
)
_HEAD = (
    *("model", "objective", "test acc.", "test ppl.", "of baseline"),
    *("OOD acc.", "OOD ppl.", "of baseline", "seconds", "residues/s"),
)
_PLACE = re.compile(r"<!-- (\S+\.json) -->\n(.*?)<!-- end of \1 -->", re.DOTALL)


def collect(runs: Sequence[Run]) -> dict[str, Any]:
    """What is published of finished runs: commits, overrides and figures.

    Raises: UserError that names a run without results.
    """
    for run in runs:
        if run.metrics is None:
            raise UserError(f"{run.folder}: expected a finished run, found one that {run.state}")
    return {
        "commits": sorted({run.status.commit for run in runs if run.status and run.status.commit}),
        "runs": [
            {
                "model": run.named("model"),
                "objective": run.named("objective"),
                "overrides": [f"{key}={value}" for key, value in _published(run).items()],
                "metrics": {k: v for k, v in (run.metrics or {}).items() if _is_kept(k)},
            }
            for run in runs
        ],
    }


def sweep_command(runs: Sequence[Run]) -> str:
    """The multirun that does these runs again, and no others if they are a whole grid."""
    chosen = [_published(run) for run in runs]
    keys = {key: None for each in chosen for key in each}
    words = []
    for key in keys:
        values = dict.fromkeys(each[key] for each in chosen if key in each)
        words.append(f"{key}={','.join(values)}")
    return " ".join(["python train.py", *(["-m"] if len(runs) > 1 else []), *words])


def table(result: Mapping[str, Any]) -> str:
    """The result's runs in Markdown, baselines first; intervals where there are several seeds."""
    lines = [_row(_HEAD), "|---|---|" + "---|" * (len(_HEAD) - 2)]
    groups = group_runs(_runs(result))
    for objective in dict.fromkeys(group.objective for group in groups):
        of_objective = [group for group in groups if group.objective == objective]
        lines += [_baseline(of_objective[0], objective), _ngram(of_objective[0], objective)]
        lines += [_model(group) for group in of_objective]
    return "\n".join(lines) + "\n"


def with_tables(text: str, root: Path) -> str:
    """A document with every table made anew; `root` is where the results' paths start."""

    def filled(place: re.Match[str]) -> str:
        name = place[1]
        return f"<!-- {name} -->\n\n{table(read_result(root / name))}\n<!-- end of {name} -->"

    return _PLACE.sub(filled, text)


def _published(run: Run) -> dict[str, str]:
    left_out = ("hydra.", "logger", "ckpt_path", "run_dir")
    return {key: value for key, value in run.chosen.items() if not key.startswith(left_out)}


def _is_kept(name: str) -> bool:
    return name in _COUNTS or _KEPT.fullmatch(name) is not None


def _runs(result: Mapping[str, Any]) -> list[Run]:
    return [
        Run(
            Path(),
            {"model": {"name": each["model"]}, "objective": {"name": each["objective"]}},
            Status("finished", "", each["overrides"]),
            each["metrics"],
        )
        for each in result["runs"]
    ]


def _model(group: Group) -> str:
    name = ", ".join([f"`{group.model}`", *group.setting])
    seconds, residues = group.interval("train/seconds"), group.interval("train/residues")
    speed = f"{residues.mean / seconds.mean:,.0f}" if seconds and residues else ""
    took = f"{seconds.mean:,.0f}" if seconds else ""
    return _row([name, group.objective, *_figures(group, ""), took, speed])


def _baseline(group: Group, objective: str) -> str:
    return _row(["empirical baseline", objective, *_figures(group, "empirical_"), "", ""])


def _ngram(group: Group, objective: str) -> str:
    orders = [group.interval(f"{name}/ngram_order") for name in ("test", "ood")]
    known = ", ".join(
        f"{name} {order.mean:.0f}"
        for name, order in zip(("test", "OOD"), orders, strict=True)
        if order
    )
    return _row([f"best n-gram ({known})", objective, *_figures(group, "ngram_"), "", ""])


def _figures(group: Group, prefix: str) -> Iterator[str]:
    for name in ("test", "ood"):
        accuracy, perplexity, baseline = (
            group.interval(f"{name}/{key}")
            for key in (f"{prefix}accuracy", f"{prefix}perplexity", "empirical_perplexity")
        )
        if accuracy is None or perplexity is None or baseline is None:
            yield from ("", "", "")
            continue
        yield _shown(Interval(100 * accuracy.mean, 100 * accuracy.half_width), " %")
        yield _shown(perplexity)
        yield f"{perplexity.mean / baseline.mean:.3f}"


def _shown(interval: Interval, unit: str = "") -> str:
    certain = math.isnan(interval.half_width) or interval.half_width == 0
    return f"{interval.mean:.2f}{'' if certain else f' ± {interval.half_width:.2f}'}{unit}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
