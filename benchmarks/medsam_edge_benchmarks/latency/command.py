"""`medsam-edge bench latency` and `medsam-edge bench compare`: their options, and where their figures go."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medsam_edge_benchmarks.latency.cases.papers import CASES, WHOLE_BODY
from medsam_edge_benchmarks.latency.output import compare, text
from medsam_edge_benchmarks.latency.output.page import write_latency_page
from medsam_edge_benchmarks.latency.output.sheet import write_csv
from medsam_edge_benchmarks.latency.runs.figures import LatencyReport
from medsam_edge_benchmarks.latency.runs.run import QUICK, LatencyPlan, measure_latency, steps
from medsam_edge_benchmarks.report.output import Suites, console, progress, write_json


def add_latency(suites: Suites) -> argparse.ArgumentParser:
    suite: argparse.ArgumentParser = suites.add_parser(
        "latency", help="the papers' cases, file to mask, beside the published scripts in PyTorch; needs no data"
    )
    plan = LatencyPlan()
    suite.add_argument("--quick", action="store_true", help="few cases and rounds, baselines in part: a minute or two")
    names = " ".join(case.name for case in CASES)
    whole_body = f"{WHOLE_BODY.name}, a scanner's volume of {WHOLE_BODY.shape[0]} slices"
    suite.add_argument("--cases", nargs="+", metavar="NAME", help=f"of {names}; or {whole_body}")
    suite.add_argument("--bundle", type=Path, metavar="DIR", help="default: the packaged one")
    suite.add_argument("--rounds", type=int, metavar="N", help=f"of each case; default: {plan.rounds}")
    suite.add_argument("--threads", type=int, metavar="N", help=f"of every engine; default: {plan.threads}")
    suite.add_argument(
        "--baseline-slices",
        type=int,
        metavar="N",
        help=f"slices of a volume that PyTorch runs, scaled up by count; 0: all; default: {plan.baseline_slices}",
    )
    suite.add_argument(
        "--baseline-boxes", type=int, metavar="N", help=f"boxes of an image, likewise; default: {plan.baseline_boxes}"
    )
    suite.add_argument("--csv", type=Path, metavar="FILE", help="write the figures, one a row")
    suite.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures, complete in itself")
    suite.set_defaults(handler=_latency)
    return suite


def add_compare(suites: Suites) -> argparse.ArgumentParser:
    suite: argparse.ArgumentParser = suites.add_parser(
        "compare", help="two runs of latency: what became slower, set against the baselines of both; 1 if anything did"
    )
    suite.add_argument("before", type=Path, metavar="A.json")
    suite.add_argument("after", type=Path, metavar="B.json")
    suite.add_argument(
        "--tolerance", type=float, default=10.0, metavar="PERCENT", help="slower by more is a regression; default: 10"
    )
    suite.set_defaults(handler=_compare)
    return suite


def plan_of(options: argparse.Namespace) -> LatencyPlan:
    """What the options ask for; what they leave open is as in `QUICK` or the default."""
    names = ("cases", "bundle", "rounds", "threads", "baseline_slices", "baseline_boxes")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "cases" in given:
        given["cases"] = tuple(given["cases"])
    return replace(QUICK if options.quick else LatencyPlan(), **given)


def _latency(options: argparse.Namespace) -> dict[str, Any]:
    plan = plan_of(options)
    kept: list[LatencyReport] = []

    def save(report: LatencyReport) -> None:
        kept[:] = [report]
        if options.json:
            write_json(options.json, asdict(report))

    try:
        with tempfile.TemporaryDirectory() as folder, progress(steps(plan)) as step:
            report = measure_latency(plan, Path(folder), step, save)
    finally:  # also when interrupted: what is measured is measured
        for own in kept:
            _present(own, options)
    return asdict(report)


def _present(report: LatencyReport, options: argparse.Namespace) -> None:
    text.show(report, console())
    if options.csv:
        write_csv(options.csv, report)
    if options.html:
        write_latency_page(options.html, report)


def _compare(options: argparse.Namespace) -> dict[str, Any]:
    result = compare.compare(compare.read(options.before), compare.read(options.after), options.tolerance / 100)
    print(compare.as_text(result))
    return {**asdict(result), "failed": compare.failure(result)}
