"""A report as tables for the terminal, and how its figures are written wherever people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from medsam_edge_benchmarks.latency.cases.cases import LatencyCase
from medsam_edge_benchmarks.latency.runs.figures import CaseFigures, Figures, LatencyReport, Spread
from medsam_edge_benchmarks.latency.runs.roofline import Roofline
from medsam_edge_benchmarks.latency.variants import BASELINE, STAGES, TOTAL
from medsam_edge_benchmarks.report.output import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

START_STAGES = ("import", "load", "first mask")
PAPERS = (
    "The papers' seconds are from their machines, for other images and trained weights; ours are networks and a "
    "machine of our own. Compare the ratios, and those with care."
)
OVERLAP = "Stages that overlap, such as encoding ahead in volumes, sum to more than the total, which is the wall clock."


def duration(seconds: float) -> str:
    """Three digits and a unit: 43.7 s, 4.37 s, 437 ms, 4.37 ms."""
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.3g} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.3g} ms"


def times(ratio: float | None) -> str:
    """A ratio to the baseline: 36×, 3.6×, 0.36×; nothing where there is none."""
    if ratio is None:
        return ""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2f}×"


def median(spread: Spread) -> str:
    """The median, marked where it is scaled up from a part."""
    return mark(spread) + duration(spread.p50)


def ratio(spread: Spread) -> str:
    """The ratio to the baseline, marked where either of the two is scaled up."""
    return ("≈ " if spread.ratio_scaled else "") + times(spread.ratio)


def mark(spread: Spread) -> str:
    return "≈ " if spread.scaled else ""


def work(own: CaseFigures) -> str:
    """A case's size, objects, slices and boxes to decode."""
    shape = "×".join(map(str, own.case.shape)) + ("" if len(own.case.shape) == 3 else "×3")
    counts = ((own.case.objects, "object", "s"), (own.slices, "slice", "s"), (own.masks, "box", "es"))
    objects, slices, boxes = (f"{count} {name}{'' if count == 1 else end}" for count, name, end in counts)
    return f"{shape}, {objects}, {slices}, {boxes} to decode"


def papers(case: LatencyCase) -> str:
    paper = case.paper
    if paper is None:
        return "not in the papers"
    updated = f", its updated script {paper.updated_script:g} s" if paper.updated_script else ""
    return (
        f"papers: LiteMedSAM {paper.lite_medsam:g} s, Rep-MedSAM {paper.rep_medsam:g} s, "
        f"fused {paper.rep_medsam_fused:g} s{updated}"
    )


def scaled(report: LatencyReport) -> list[str]:
    """What is scaled up: a line for each case, or for each part that variants ran of it."""
    lines: dict[tuple[str, str], list[str]] = {}
    for case, variants in report.named:
        for name, figures in variants.items():
            if figures.scaled_from:
                lines.setdefault((case, figures.scaled_from), []).append(name)
    return [f"≈ {case}: from {source} ({' / '.join(names)})" for (case, source), names in lines.items()]


def show(report: LatencyReport, console: Console) -> None:
    """Print everything."""
    for own in report.cases:
        title = f"{own.case.name}  {work(own)}\n{papers(own.case)}"
        console.print(_figure_table(title, own.variants, STAGES), "")
    if report.cold_start:
        title = "Cold start, from the first import to the first mask, in fresh processes"
        console.print(_figure_table(title, report.cold_start, START_STAGES), "")
    if report.roofline:
        console.print(_roofline_table(report.roofline), "")
    for name, fact in report.machine.items():
        console.print(f"{name:18} {fact}", highlight=False)
    console.print("", *footnotes(report), *scaled(report), sep="\n", highlight=False)


def footnotes(report: LatencyReport) -> list[str]:
    unfinished = [] if report.complete else ["Interrupted: what is missing was not measured."]
    quick = ["A quick look: few cases, few rounds, baselines in part."] if report.settings["quick"] else []
    return [*unfinished, *quick, *report.notes, PAPERS, OVERLAP]


def cells(figures: Figures, stages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(figure, its ratio to the baseline): the total's percentiles, each stage's median, throughput, memory."""
    total, sign = figures.total, mark(figures.total)
    yield median(total), ratio(total)
    yield f"{sign}{duration(total.p90)}", ""
    yield f"{sign}{duration(total.p99)}", ""
    for stage in stages:
        spread = figures.stages.get(stage)
        yield (median(spread), ratio(spread)) if spread else ("", "")
    if stages == STAGES:
        yield f"{sign}{figures.slices_per_s:.3g}", ratio(total)
        yield f"{sign}{figures.boxes_per_s:.3g}", ratio(total)
    yield (f"{figures.peak_mb:.0f}", times(figures.peak_ratio)) if figures.peak_mb else ("–", "")


def headings(stages: tuple[str, ...]) -> list[str]:
    rates = ["slices/s", "boxes/s"] if stages == STAGES else []
    return [TOTAL, "p90", "p99", *stages, *rates, "peak MB"]


def _figure_table(title: str, variants: Mapping[str, Figures], stages: tuple[str, ...]) -> Table:
    table = new_table(title)
    table.add_column("variant", no_wrap=True)
    for heading in headings(stages):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, figures in variants.items():
        rows = [f"{figure}\n[dim]{against}[/dim]" for figure, against in cells(figures, stages)]
        table.add_row(name if name != BASELINE else f"{name}\n[dim]the baseline[/dim]", *rows)
    return table


def _roofline_table(roofline: Roofline) -> Table:
    table = new_table(
        f"What the machine can do, measured; it copies {roofline.copy_gb_per_s:.1f} GB/s (read and written)"
    )
    for heading in ("", "GMAC/s", "share of the rate", "how"):
        table.add_column(heading, justify="left" if heading in ("", "how") else "right")
    for rate in roofline.rates:
        speed = f"{rate.gmacs_per_s:.0f}" if rate.gmacs_per_s else "–"
        table.add_row(f"{rate.precision} matrix rate", speed, "", rate.kernel)
    for part in roofline.parts:
        share = f"{part.share:.0%} of {part.precision}" if part.share else f"no {part.precision} rate"
        table.add_row(part.part, f"{part.gmacs_per_s:.0f}", share, f"{part.gmacs:.2f} GMAC in {part.ms:.1f} ms")
    return table
