"""The charts of a report as Vega-Lite specifications, without data: these, titles and colours come later.

Charts are Vega-Lite's, by Altair, with the scripts that vl-convert bundles: tried beside bokeh on 5,000
trials, a page was smaller (1.27 against 1.42 MB) and each chart can be saved as SVG as it stands; and where
bokeh is installed, Dask serves its dashboard from every local cluster. The scripts are those of one version,
so that a report needs no network, now or in ten years.

Texts in braces, such as ``{front}``, are replaced in the browser: titles of axes, and colours of the theme.
Data sets have the names that ``charts.js`` fills; limits of scales are parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

# Almost transparent: a mark that is there to be pointed at.
_UNSEEN = 0.001
_STAR = (
    "M0,-1L0.235,-0.324L0.951,-0.309L0.38,0.124L0.588,0.809L0,0.4L-0.588,0.809L-0.38,0.124L-0.951,-0.309"
    "L-0.235,-0.324Z"
)


def chart_specs() -> dict[str, dict[str, Any]]:
    """The Vega-Lite specification of each chart: ``front``, ``parallel``, ``bits`` and ``history``."""
    charts = {"front": _front(), "parallel": _parallel(), "bits": _bits(), "history": _history()}
    return {name: chart.to_dict(validate=True) for name, chart in charts.items()}


def _range(axis: str) -> alt.Scale:
    """A scale whose ends are parameters."""
    import altair as alt

    ends = [alt.ExprRef(f"{axis}low"), alt.ExprRef(f"{axis}high")]
    return alt.Scale(domain=ends, zero=False, nice=False, clamp=False)


def _layer(data: str) -> alt.Chart:
    """Marks of a data set that the browser fills."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=data))


def _ends(*axes: str) -> list[alt.Parameter]:
    import altair as alt

    return [
        alt.param(name=f"{axis}{end}", value=float(end == "high")) for axis in axes for end in ("low", "high")
    ]


def _front() -> alt.LayerChart:
    """Any two figures of all trials: those off the front, reference models, limits, and the front."""
    import altair as alt

    x = alt.X("x:Q", title="{x}", scale=_range("x"))
    y = alt.Y("y:Q", title="{y}", scale=_range("y"))

    def marks(name: str, **how: Any) -> alt.Chart:
        shape = alt.Shape("shape:N", scale=None)
        made: alt.Chart = _layer(name).mark_point(clip=True, **how).encode(x=x, y=y, shape=shape)
        return made

    look: Any = {
        "color": alt.Color("color:N", scale=None),
        "opacity": alt.Opacity("opacity:Q", scale=None),
        "size": alt.Size("size:Q", scale=None),
    }
    cloud = marks("cloud", size=16, filled=True, opacity=0.55).encode(color=look["color"])
    thin: Any = {"strokeWidth": 1.2, "clip": True}
    seen = alt.Opacity("error:Q", scale=None)
    low = alt.Y("low:Q", title="{y}", scale=_range("y"))
    left = alt.X("left:Q", title="{x}", scale=_range("x"))
    errors = (
        _layer("front").mark_rule(**thin).encode(x=x, y=low, y2="high:Q", color=look["color"], opacity=seen)
    )
    wide = (
        _layer("front").mark_rule(**thin).encode(x=left, x2="right:Q", y=y, color=look["color"], opacity=seen)
    )
    stairs = _layer("stairs").mark_line(interpolate="step-after", clip=True, strokeWidth=1.4, opacity=0.8)
    stairs = stairs.encode(x=x, y=y, detail="run:N", color=look["color"], order="order:Q")
    stairs = stairs.encode(strokeDash=alt.StrokeDash("dash:N", scale=None))
    rule: Any = {"color": "{limit}", "strokeDash": [5, 4], "strokeWidth": 1.3, "clip": True}
    across = _layer("limits_x").mark_rule(**rule).encode(x=x)
    up = _layer("limits_y").mark_rule(**rule).encode(y=y)
    references = marks("references", size=70, color="{ink}", filled=False, strokeWidth=1.6)
    named = _layer("references").mark_text(align="left", dx=8, dy=-7, fontSize=11, color="{ink}", clip=True)
    drawn: Any = {"color": "{refined}", "strokeWidth": 1.6, "clip": True}
    ways = _layer("refined").mark_rule(strokeDash=[2, 2], **drawn)
    ways = ways.encode(x=x, y=y, x2="from_x:Q", y2="from_y:Q", opacity=look["opacity"])
    brought = _layer("refined").mark_rule(**drawn).encode(x=x, y=low, y2="high:Q", opacity=look["opacity"])
    refined = _layer("refined").mark_point(
        shape="diamond",
        size=110,
        filled=True,
        color="{refined}",
        stroke="{ground}",
        strokeWidth=0.9,
        clip=True,
    )
    refined = refined.encode(x=x, y=y, opacity=look["opacity"])
    points = marks("front", filled=True, stroke="{ground}", strokeWidth=0.8).encode(**look)
    shown: Any = {"filled": True, "color": "{star}", "stroke": "{ink}", "strokeWidth": 0.9, "clip": True}
    stars = _layer("stars").mark_point(shape=_STAR, size=420, **shown).encode(x=x, y=y)
    ring = _layer("focus").mark_point(size=260, filled=False, strokeWidth=2.2, color="{ink}", clip=True)
    words = _layer("labels").mark_text(
        align="center", dy=alt.ExprRef("datum.dy"), fontSize=11, fontWeight=600, clip=True
    )
    words = words.encode(x=x, y=y, text="text:N", color=look["color"])
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    layers = [
        cloud, across, up, stairs, errors, wide, references, named.encode(x=x, y=y, text="name:N"),
        stars, ways, brought, points.add_params(brush), refined, ring.encode(x=x, y=y), words,
    ]  # fmt: skip
    return _finished(layers, 440, _ends("x", "y"))


def _parallel() -> alt.LayerChart:
    """All figures of the front at once: a line for each point, an upright axis for each figure."""
    import altair as alt

    x = alt.X("axis:Q", title=None, axis=None, scale=_range("x"))

    def up(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=None, axis=None, scale=alt.Scale(domain=[-0.06, 1.29]))

    y = up("place")

    lines = _layer("lines").mark_line(interpolate="linear", strokeJoin="round").encode(
        x=x, y=y, detail="trial:Q", order="axis:Q",
        color=alt.Color("color:N", scale=None), opacity=alt.Opacity("opacity:Q", scale=None),
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
    )  # fmt: skip
    axes = _layer("axes").mark_rule(color="{muted}").encode(x=x, y=up("low"), y2="high:Q")
    titles = _layer("axes").mark_text(fontSize=11, fontWeight=600, color="{ink}", baseline="bottom")
    titles = titles.encode(x=x, y=up("title_place"), text="title:N")
    ticks = _layer("ticks").mark_text(fontSize=10, align="left", dx=4, color="{muted}")
    ticks = ticks.encode(x=x, y=y, text="text:N")
    ranges = _layer("ranges").mark_bar(size=12, opacity=0.4, color="{star}", cursor="pointer")
    ranges = ranges.encode(x=x, y=up("low"), y2="high:Q")
    focus = _layer("focus").mark_line(color="{ink}", strokeWidth=2.4).encode(x=x, y=y, order="axis:Q")
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    hit = (
        _layer("lines").mark_point(size=120, opacity=_UNSEEN, filled=True).encode(x=x, y=y).add_params(brush)
    )
    return _finished([lines, axes, titles, ticks, focus, ranges, hit], 230, _ends("x"))


def _bits() -> alt.LayerChart:
    """Which gene has how many bits along the front: a row for each point, a column for each gene."""
    import altair as alt

    x = alt.X("left:Q", title=None, axis=None, scale=_range("x"))
    downwards = _range("y")
    downwards["reverse"] = True
    y = alt.Y("top:Q", title=None, axis=None, scale=downwards)

    cells = _layer("cells").mark_rect(stroke="{ground}", strokeWidth=0.4, cursor="pointer")
    cells = cells.encode(x=x, x2="right:Q", y=y, y2="bottom:Q", color=alt.Color("color:N", scale=None))
    veil = _layer("veil").mark_rect(color="{ground}").encode(x=x, x2="right:Q", y=y, y2="bottom:Q")
    veil = veil.encode(opacity=alt.Opacity("opacity:Q", scale=None))
    frames = _layer("frames").mark_rect(filled=False, strokeWidth=2)
    frames = frames.encode(x=x, x2="right:Q", y=y, y2="bottom:Q", stroke=alt.Stroke("color:N", scale=None))
    words = _layer("words").mark_text(fontSize=10.5).encode(
        x=x, y=y, text="text:N", color=alt.Color("color:N", scale=None),
    )  # fmt: skip
    rows = _layer("rows").mark_text(fontSize=10.5, align="right", dx=-5).encode(
        x=x, y=y, text="text:N", color=alt.Color("color:N", scale=None),
    )  # fmt: skip
    return _finished([cells, veil, frames, words, rows], 300, _ends("x", "y"))


def _history() -> alt.LayerChart:
    """Hypervolume after each evaluation, and where the replay is."""
    import altair as alt

    x = alt.X("n:Q", title="evaluations", scale=_range("x"))
    y = alt.Y("value:Q", title="hypervolume", scale=_range("y"))

    color = alt.Color("color:N", scale=None)
    line = _layer("history").mark_line(interpolate="step-after", strokeWidth=1.8, clip=True)
    line = line.encode(x=x, y=y, detail="run:N", color=color, strokeDash=alt.StrokeDash("dash:N", scale=None))
    cursor = _layer("cursor").mark_rule(color="{star}", strokeWidth=2, clip=True).encode(x=x)
    return _finished([line, cursor], 120, _ends("x", "y"))


def _finished(layers: list[Any], height: int, parameters: list[Any]) -> alt.LayerChart:
    import altair as alt

    chart: Any = alt.layer(*layers).properties(width="container", height=height)
    found: alt.LayerChart = chart.add_params(*parameters)
    return found
