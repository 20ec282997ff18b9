"""What a comparison of a model's assignments comes to, in sentences, and what its reader must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from bitfront.search.problem.wording import MISSING, Difference, difference, is_modelled, quantization
from bitfront.search.reports.published import DRY_RUN, statement
from bitfront.spaces.quantities import count_of

Document = Mapping[str, Any]
# Standard errors within which two assignments are as good as one another.
TELLING = 2.0


def labels(documents: Sequence[Document]) -> list[str]:
    """What each comparison is called: its model, with its own name where models are the same."""
    count = Counter(document["model"] for document in documents)
    return [
        f"{document['model']} ({document['comparison']})"
        if count[document["model"]] > 1
        else document["model"]
        for document in documents
    ]


def all_draws(document: Document) -> list[Document]:
    """The stochastic assignments beside all searches."""
    return [draw for search in document["searches"] for draw in search["draws"]]


def all_marks(document: Document) -> list[Document]:
    """Where all searches stood after so many generations."""
    return [mark for search in document["searches"] for mark in search["generations"]]


def findings(documents: Sequence[Document]) -> list[str]:
    """Whether the search is better than the other assignments, as far as the test images tell."""
    lines = []
    for label, document in zip(labels(documents), documents, strict=True):
        if document["random_weights"]:
            lines.append(f"{label}: {DRY_RUN}")
        found = document["differences"]
        if "search_to_stochastic" in found:
            whom = f"the stochastic baseline (mean of {count_of(len(all_draws(document)), 'draw')})"
            told = _verdict(found["search_to_stochastic"], whom, "stochastic")
            lines.append(f"{label}: {told}; {_as_good(document)}")
        if "search_to_eight_bit" in found:
            lines.append(f"{label}: {_verdict(found['search_to_eight_bit'], 'uniform 8 bit', '8 bit')}")
    return lines


def _verdict(found: Document, whom: str, short: str) -> str:
    """The search beside another assignment."""
    value, error = found["value"], found["error"]
    told = f"search less {short} {difference(Difference(value, error))} points"
    if abs(value) <= TELLING * error:
        return f"{whom} is as good as the search, within two standard errors: {told}"
    return f"the search is {'better' if value > 0 else 'worse'} than {whom}: {told}"


def _as_good(document: Document) -> str:
    """How many draws are as good on the test images as what was searched."""
    pairs = [
        (draw["test"], search["test"])
        for search in document["searches"]
        for draw in search["draws"]
        if None not in (draw["test"], search["test"])
    ]
    count = sum(drawn >= searched for drawn, searched in pairs)
    return f"{count} of {count_of(len(pairs), 'draw')} {'is' if count == 1 else 'are'} as good or better"


def notes(documents: Sequence[Document]) -> list[str]:
    """What was compared on what, how it stands to the published figures, and what the figures mean."""
    lines = []
    for label, document in zip(labels(documents), documents, strict=True):
        lines += [f"{label}: {sentence}" for sentence in _facts(document)]
    return [
        *lines,
        "stochastic: as many genes of 4 and of 8 bits of each kind as in the searched assignment, on other "
        "encoders, with a packed size within 1 % of its; a standard deviation there is that over draws, of "
        "several searches that over seeds",
        "against 8 bit: difference on the same test images, with its paired standard error over images",
        "after generations: of the points found until then that cost no more than the searched one, that of "
        "the best estimated quality, by which a search chooses, not that of the most images right",
        "search images: those that the search was told of, so that its best are partly luck",
    ]


def _facts(document: Document) -> Iterator[str]:
    images, source = document["images"], document["latency_source"]
    yield (
        f"{quantization(document)}; {images['calibration']:,} calibration, {images['search']:,} search and "
        f"{images['test']:,} test images of {data_name(document)}"
    )
    kind = "modelled" if is_modelled(source) else "measured"
    yield (
        f"{document['sampler']}, {count_of(document['generations'], 'generation')} of "
        f"{document['population']}, {count_of(document['seeds'], 'seed')}; pick {document['pick']}; time is "
        f"{kind} ({source}), batch {document['latency_batch']}"
    )
    yield statement(document, data_name(document))
    yield from document["notes"]
    if any(mark["best"] is None for mark in all_marks(document)):
        yield f"{MISSING} after generations: nothing of that size and time or less was found yet"
    fewest = min((len(search["draws"]) for search in document["searches"]), default=document["draws"])
    if fewest < document["draws"]:
        yield f"{fewest} of {document['draws']} draws: no more permutations within 1 % of the size were found"
    if document["interrupted"]:
        yield f"not finished: {MISSING} where nothing was evaluated yet"


def data_name(document: Document) -> str:
    """What the data are called, without the folders of this machine."""
    path = PurePath(str(document["data"]))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(document["data"])
