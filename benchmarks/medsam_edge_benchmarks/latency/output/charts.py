"""A report's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medsam_edge_benchmarks.latency.output.text import START_STAGES, duration, median, ratio
from medsam_edge_benchmarks.latency.runs.figures import CaseFigures, Figures
from medsam_edge_benchmarks.latency.runs.roofline import Roofline
from medsam_edge_benchmarks.latency.variants import BASELINE, OURS, STAGES
from medsam_edge_benchmarks.report.output import FAINT, INK, address, figure, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGE_COLORS = dict(zip(STAGES, ("#94a3b8", "#2a9d8f", "#2563a8", "#e08a2e", "#8e6bb5", "#475569"), strict=True))
START_COLORS = dict(zip(START_STAGES, ("#94a3b8", "#2563a8", "#e08a2e"), strict=True))
DOTS = (
    (f"{OURS}, here", "o", "#c2410c", True),
    ("rep_medsam, here", "s", FAINT, True),
    ("rep_medsam, fused, here", "s", "#2563a8", True),
    ("Rep-MedSAM, papers", "s", FAINT, False),
    ("Rep-MedSAM, fused, papers", "s", "#2563a8", False),
    ("updated script, papers", "D", "#8e6bb5", False),
)
"""Label, marker, colour, and whether it is filled: measured here."""
BAR = 0.24  # inches of height for each bar


def relative_bars(cases: Sequence[CaseFigures]) -> str:
    """For each case, every variant's stages as shares of the baseline's total."""
    picture, axes = figure(sum(len(own.variants) + 1.4 for own in cases) * BAR + 0.9)
    y, ticks = 0.0, []
    for own in cases:
        axes.text(0, y, own.case.name, va="center", ha="left", fontweight="bold", color=INK)
        for name, figures in own.variants.items():
            y += 1
            end = _stack(axes, y, figures, STAGE_COLORS, 1 / own.variants[BASELINE].total.p50)
            label = median(figures.total) + (f"  {ratio(figures.total)}" if name != BASELINE else "")
            axes.text(end + 0.008, y, label, va="center", color=INK, fontweight="bold" if name == OURS else "normal")
            ticks.append((y, name))
        y += 1.4
    finish(axes, ticks, "share of lite_medsam's time on the same case", room=1.12)
    axes.xaxis.set_major_formatter("{x:.0%}")
    return address(picture, STAGE_COLORS)


def own_stages(cases: Sequence[CaseFigures]) -> str:
    """Ours alone: the stages' shares of their sum, and the total beside them."""
    picture, axes = figure(len(cases) * BAR * 1.3 + 0.9)
    for y, own in enumerate(cases):
        figures = own.variants[OURS]
        whole = sum(spread.p50 for stage, spread in figures.stages.items() if stage in STAGES)
        _stack(axes, y, figures, STAGE_COLORS, 1 / whole)
        axes.text(1.01, y, duration(figures.total.p50), va="center", color=INK)
    finish(axes, _names(cases), "share of the stages' sum; the total on the right")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(0, 1.09)
    return address(picture, STAGE_COLORS)


def ratio_dots(cases: Sequence[CaseFigures]) -> str:
    """How many times faster than LiteMedSAM: measured here, and as the papers print it."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    picture, axes = figure(len(cases) * BAR * 1.5 + 1.1)
    for y, own in enumerate(cases):
        axes.axhline(y, color="#e5e7eb", lw=0.8, zorder=0)
        for value, (_, marker, color, filled) in zip(_ratios(own), DOTS, strict=True):
            if value:
                axes.plot(value, y, ls="", marker=marker, color=color, mfc=color if filled else "none", ms=6)
        label, place = ratio(own.variants[OURS].total), axes.get_yaxis_transform()
        axes.text(1.01, y, label, transform=place, va="center", color=DOTS[0][2], fontweight="bold")
    finish(axes, _names(cases), "times faster than LiteMedSAM; log scale")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.axvline(1, color=FAINT, lw=1, ls=":")
    handles = [
        Line2D([], [], ls="", marker=marker, color=color, mfc=color if filled else "none", label=label)
        for label, marker, color, filled in DOTS
    ]
    picture.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
    return address(picture)


def _names(cases: Sequence[CaseFigures]) -> list[tuple[float, str]]:
    """A row for each case."""
    return [(y, own.case.name) for y, own in enumerate(cases)]


def _ratios(own: CaseFigures) -> tuple[float | None, ...]:
    """In the order of `DOTS`."""
    here = [own.variants[name].total.ratio for name in (OURS, "rep_medsam", "rep_medsam, fused")]
    paper = own.case.paper
    if paper is None:
        return (*here, None, None, None)
    printed = (paper.rep_medsam, paper.rep_medsam_fused, paper.updated_script)
    return (*here, *(paper.lite_medsam / seconds if seconds else None for seconds in printed))


def start_bars(variants: Mapping[str, Figures]) -> str:
    """Import, load and first mask of each variant."""
    picture, axes = figure(len(variants) * BAR * 1.5 + 0.9)
    for y, figures in enumerate(variants.values()):
        end = _stack(axes, y, figures, START_COLORS, 1)
        axes.text(end, y, f"  {duration(figures.total.p50)}  {ratio(figures.total)}", va="center", color=INK)
    finish(axes, list(enumerate(variants)), "seconds from the first import to the first mask", room=1.12)
    return address(picture, START_COLORS)


def rate_bars(roofline: Roofline) -> str:
    """The machine's rates, and what encoder and decoder make of them."""
    rates = [rate for rate in roofline.rates if rate.gmacs_per_s]
    bars = [(f"{rate.precision} matrix rate", rate.gmacs_per_s or 0.0, rate.kernel, "#cbd5e1") for rate in rates]
    for part in roofline.parts:
        share = f"{part.share:.0%} of the {part.precision} rate" if part.share else f"no {part.precision} rate measured"
        bars.append((part.part, part.gmacs_per_s, share, "#2563a8"))
    picture, axes = figure(len(bars) * BAR * 1.5 + 0.6)
    for y, (_, value, note, color) in enumerate(bars):
        axes.barh(y, value, color=color, height=0.72)
        axes.text(value, y, f"  {value:.0f}  {note}", va="center", color=INK)
    finish(axes, [(y, bar[0]) for y, bar in enumerate(bars)], "GMAC/s", room=1.3)
    return address(picture)


def _stack(axes: Axes, y: float, figures: Figures, colors: Mapping[str, str], scale: float) -> float:
    """A bar of stages' medians; gives where it ends."""
    left = 0.0
    for stage, color in colors.items():
        if spread := figures.stages.get(stage):
            axes.barh(y, spread.p50 * scale, left=left, color=color, height=0.8, lw=0)
            left += spread.p50 * scale
    return left
