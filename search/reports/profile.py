"""The profile of a model as a person reads it: the recipe, costs, ranges and sensitivities."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.models.sites import role
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.wording import MISSING, ended_words, megabytes, narrowed_words, quantization
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.profile_document import GRADIENT, SPECTRAL
from bitfront.search.reports.tables import Table
from bitfront.spaces import KINDS, FormatName
from bitfront.spaces.formats import label
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from rich.console import Console

AGREEMENT_NOTE = "95 %: of resamples of the genes lie within (bootstrap)"
Gene = Mapping[str, Any]
COST_NOTES = (
    "each: of one such encoder; elements: parameters, or values per image; KB: codes alone, 10^3 bytes",
    "of file: share of the file at the widest; of MACs: share of the products that it is an operand of, so "
    "that kinds overlap",
)
Site = Mapping[str, Any]


def print_sensitivities(document: Mapping[str, Any], console: Console) -> None:
    """Prints what :func:`bitfront.search.reports.profile_document.sensitivity_document` gives."""
    first = narrowed_words(document["narrow"], document["wide"]).removeprefix("at ")
    task, ranks = task_named(document["task"]), document["genes"][0]["ranks"]
    headings = [
        each
        for name, heading in _sensitivity_headings(task).items()
        if name in ranks
        for each in (heading, "\nrank")
    ]
    table = Table([first, "KB\nsaved", *headings])
    console.print(table.extend([gene["gene"], *_cells(gene, task)] for gene in document["genes"]))
    print_lines(console, ["", *_notes(document, task)], style="dim")
    if len(ranks) > 1:
        console.print()
        console.print(_agreement_table(document["rank_agreement"], task))
        by_kind = _by_kind(document["rank_agreement_by_kind"], task)
        print_lines(console, ["", *by_kind, AGREEMENT_NOTE], style="dim")


def _agreement_table(agreement: Mapping[str, Any], task: Task) -> Table:
    """Rank correlations of every two measures, with their intervals."""
    table = Table(["rank correlation", "", "Spearman", "95 %", "Kendall", "95 %"], texts=(0, 1))
    for pair, found in agreement.items():
        first, second = (_measure_name(task, name) for name in pair.split("/"))
        cells = (_correlation(found[name]) for name in ("spearman", "kendall"))
        table.add(first, second, *itertools.chain.from_iterable(cells))
    return table


def _by_kind(agreement: Mapping[str, Mapping[str, Any]], task: Task) -> Iterable[str]:
    """What estimates and measurement agree in among the genes of each kind."""
    for kind, pairs in agreement.items():
        parts = [
            f"{_measure_name(task, pair.partition('/')[2])} {_correlation(found['spearman'])[0]}"
            for pair, found in pairs.items()
            if pair.partition("/")[0] == task.distance and pair.partition("/")[2] in (GRADIENT, SPECTRAL)
        ]
        if parts:
            yield f"among {kind}, {_measure_name(task, task.distance)} and {', '.join(parts)} (Spearman)"


def _correlation(found: Mapping[str, float]) -> tuple[str, str]:
    """A correlation and its interval; a dash where all ranks are equal."""
    if found["value"] != found["value"]:
        return MISSING, MISSING
    return f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}"


def _measure_name(task: Task, measure: str) -> str:
    """What a measure is called beside others."""
    if measure == SPECTRAL:
        return "spectral S"
    return "gradient score" if measure == GRADIENT else task.metric(measure).title.removesuffix(" to float")


def _sensitivity_headings(task: Task) -> dict[str, str]:
    """By measure; those with a unit are shown in thousandths of it."""
    units = {name: f"milli{task.metric(name).unit}" for name in (task.loss, task.distance)}
    return {
        **{name: f"{_measure_name(task, name)}\n{unit}" for name, unit in units.items()},
        task.counted: f"{_measure_name(task, task.counted)}\npoints",
        GRADIENT: f"gradient\n{units[task.distance]}",
        SPECTRAL: "spectral\nS",
    }


def _cells(gene: Gene, task: Task) -> Iterable[str]:
    yield f"{gene['bytes_saved'] / 1e3:,.1f}" if gene["bytes_saved"] else MISSING
    ranks = gene["ranks"]
    if task.loss in ranks:
        yield from (f"{1e3 * gene[f'{task.loss}_change']:+.2f}", f"{ranks[task.loss]:g}")
        yield from (f"{1e3 * gene['divergence']:.2f}", f"{ranks[task.distance]:g}")
        change = f"{task.counted}_change"
        error = gene[f"{change}_standard_error"]
        chance = f" \N{PLUS-MINUS SIGN} {error:.2f}" if error > 0 else ""
        yield from (f"{gene[change]:+.2f}{chance}", f"{ranks[task.counted]:g}")
    if GRADIENT in ranks:
        yield from (f"{1e3 * gene[GRADIENT]:.2f}", f"{ranks[GRADIENT]:g}")
    if SPECTRAL in ranks:
        yield from (f"{gene[SPECTRAL]:.4g}", f"{ranks[SPECTRAL]:g}")


def _notes(document: Mapping[str, Any], task: Task) -> Iterable[str]:
    ranks = document["genes"][0]["ranks"]
    if task.distance in ranks:
        loss, distance, counted = (
            _measure_name(task, name) for name in (task.loss, task.distance, task.counted)
        )
        narrow, wide = ended_words(document["narrow"], document["wide"])
        yield (
            f"{loss}, {distance}, {counted}: this gene at {narrow} and the others at {wide} against all "
            f"at {wide}, on {document['images']} search images; {counted} with its paired standard error"
        )
    if GRADIENT in ranks:
        yield (
            f"gradient: the {_measure_name(task, task.distance)} as one pass of gradients over search images "
            "predicts it, to second order"
        )
    if SPECTRAL in ranks:
        yield (
            "spectral: S of the weights, the share of the largest singular value times the mean norm of the "
            "gradient, without labels; an input has that of its layer, attention that of queries and keys"
        )
    yield "rank: 1 is the gene that matters most"


def print_profile(document: Mapping[str, Any]) -> None:
    """Prints a profile, as :func:`bitfront.search.reports.profile_document.profile_document` gives it."""
    console = stdout_console()
    print_lines(console, [*_headings(document), ""])
    ingredients = ([each["name"], each["state"], each["description"]] for each in document["ingredients"])
    console.print(Table([f"recipe {document['recipe']}", "", ""], texts=range(3)).extend(ingredients))
    console.print()
    console.print(_cost_table(document))
    print_lines(console, ["", *COST_NOTES, ""], style="dim")
    console.print(_range_table(document))
    print_lines(console, ["", *_range_notes(document), *document["notes"]], style="dim")
    if "sensitivities" in document:
        console.print()
        print_sensitivities(document["sensitivities"], console)
    if "assigned" in document:
        console.print()
        print_lines(console, _assigned(document["assigned"]))
    if "plot" in document:
        console.print(f"plot: {document['plot']}", soft_wrap=True)


def _headings(document: Mapping[str, Any]) -> Iterable[str]:
    sizes = {"float32": document["fp32_size_bytes"]} | {
        label([value] * 3): document["uniform_size_bytes"][str(value)]
        for value in reversed(_uniform(document))
    }
    largest = max(sizes.values())
    images = document["calibration_images"]
    yield f"{document['model']} ({quantization(document)}), prepared on {count_of(images, 'image')}"
    yield (
        f"{count_of(len(document['encoders']), 'encoder')}, {document['parameters']:,} parameters, "
        f"{document['macs'] / 1e9:.4g} GMACs per image; file: "
        + ", ".join(f"{name} {megabytes(size, largest)} MB" for name, size in sizes.items())
    )


def _cost_table(document: Mapping[str, Any]) -> Table:
    widths = [str(bits) for bits in document["widths"]]
    columns = ["elements", *(f"KB\nat {bits}" for bits in widths), "of\nfile", "MMACs", "of\nMACs"]
    rows = ([name, kind, *_costs(document, widths, sites)] for name, kind, sites in _groups(document))
    return Table(["sites", "", *columns], texts=(0, 1)).extend(rows)


def _groups(document: Mapping[str, Any]) -> Iterable[tuple[str, str, list[Site]]]:
    """Sites that share a row: a kind of equal neighbouring encoders, or a pinned group."""
    searched = [site for site in document["sites"] if not site["pinned"]]
    names = document["encoders"]
    by_encoder = [[site for site in searched if site["encoder"] == index] for index in range(len(names))]

    def shape(index: int) -> list[tuple[str, int, int]]:
        return [(site["kind"], site["elements"], site["macs"]) for site in by_encoder[index]]

    for _, run in itertools.groupby(range(len(names)), shape):
        indices = list(run)
        first, last = names[indices[0]], names[indices[-1]]
        label = first if len(indices) == 1 else f"{first}-{last.rpartition('.')[2]}, each"
        for kind in KINDS:
            sites = [site for site in by_encoder[indices[0]] if site["kind"] == kind]
            yield label, kind, sites
            label = ""
    pinned = [site for site in document["sites"] if site["pinned"]]
    for group in sorted({site["layer"] for site in pinned}):
        label = f"{group} (pinned)"
        for kind in KINDS:
            sites = [site for site in pinned if (site["layer"], site["kind"]) == (group, kind)]
            if sites:
                yield label, kind, sites
                label = ""


def _costs(document: Mapping[str, Any], widths: Sequence[str], sites: Sequence[Site]) -> list[str]:
    """The figures of a row."""

    def kilobytes(bits: str) -> str:
        found = [site["packed_bytes"].get(bits) for site in sites]
        return MISSING if None in found else f"{sum(found) / 1e3:,.1f}"

    widest = str(_uniform(document)[-1])
    stored = sum(site["packed_bytes"].get(widest, 0) for site in sites if site["kind"] == "weights")
    macs = sum(site["macs"] for site in sites)
    return [
        f"{sum(site['elements'] for site in sites):,}",
        *map(kilobytes, widths),
        _share(stored, document["uniform_size_bytes"][widest]),
        f"{macs / 1e6:,.3f}" if macs else MISSING,
        _share(macs, document["macs"]),
    ]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if part else MISSING


def _range_table(document: Mapping[str, Any]) -> Table:
    """Lowest and highest value of every activation of an encoder, at the narrowest width."""
    columns = [site for site in document["sites"] if site["encoder"] == 0 and _is_ranged(site)]
    logarithmic, narrowest = _is_logarithmic(document), {next(iter(site["grids"])) for site in columns}
    title = f"{narrowest.pop()}-bit ranges" if len(narrowest) == 1 else "ranges"
    table = Table([title, *(role(site["name"]) for site in columns), *["base"] * logarithmic])
    for index, name in enumerate(document["encoders"]):
        sites = [site for site in document["sites"] if site["encoder"] == index]
        ranged = [_narrowest_grid(site) for site in sites if _is_ranged(site)]
        ranges = [f"{_short(grid['low'])}..{_short(grid['high'])}" for grid in ranged]
        scales = [_narrowest_grid(site) for site in sites if site["kind"] == "attention"]
        bases = [f"{2 ** grid['log2_base']:.3f}" if "log2_base" in grid else MISSING for grid in scales]
        table.add(name, *ranges, *bases[: int(logarithmic)])
    return table


def _is_ranged(site: Site) -> bool:
    return site["kind"] == "activations" and not site["pinned"]


def _is_logarithmic(document: Mapping[str, Any]) -> bool:
    return any("log2_base" in _narrowest_grid(site) for site in document["sites"])


def _narrowest_grid(site: Site) -> Mapping[str, Any]:
    """The grid of the fewest bits; none of weights."""
    return next(iter((site["grids"] or {}).values()), {})


def _uniform(document: Mapping[str, Any]) -> list[FormatName]:
    """The formats that all kinds may take, narrow to wide."""
    return [value for value in document["widths"] if str(value) in document["uniform_size_bytes"]]


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _range_notes(document: Mapping[str, Any]) -> Iterable[str]:
    yield "ranges: least and greatest value with a code, in the equalized model; --json has every width"
    if _is_logarithmic(document):
        yield "base: attention codes stand for the probabilities 1, 1/base, 1/base^2 and so on"


def _assigned(found: Mapping[str, Any]) -> Iterable[str]:
    """What an assignment by thresholds came to."""
    borders = ", ".join(MISSING if value is None else f"{value:.4g}" for value in found["thresholds"])
    yield f"assigned ({found['asked']}): narrowest up to S = {borders}, a step wider beyond each"
    drop = found["search_drop"]
    cost = "" if drop is None else f", {drop:+.2f} points lost on the search images"
    tried = f" ({count_of(found['evaluations'], 'evaluation')})" if found["evaluations"] else ""
    yield f"{found['digest']}: {megabytes(found['size_bytes'])} MB{cost}{tried}"
    if "file" in found:
        yield f"bit config: {found['file']}"
