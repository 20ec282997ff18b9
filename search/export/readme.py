"""The page that explains an exported folder to whoever gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitfront.evaluators.deployment.expectation import RECORD
from bitfront.evaluators.deployment.facts import DTYPE, LAYOUT
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.export.folder import BIT_CONFIG, CLASSES, PREDICT, PREPROCESSING, RESULTS, ServedModel
from bitfront.search.problem.spec import bitfront_version
from bitfront.spaces.quantities import count_of

_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def readme_text(
    served: ServedModel, model: str, document: Mapping[str, Any], report: Mapping[str, Any] | None
) -> str:
    """The page as Markdown.

    Args:
        served: The model and its input.
        model: Name of its file.
        document: Its bit config document.
        report: What its verification found; None where it was not verified.
    """
    facts = served.facts
    shape = f"{DTYPE} `[{', '.join(map(str, ('batch', *facts.shape)))}]`"
    outputs = "labels" if served.several else "classes"
    probabilities = "a sigmoid of each" if served.several else "their softmax"
    low, high = facts.range
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(facts.steps, 1))
    mean, std = (" ".join(map(str, facts.preprocessing[name])) for name in ("mean", "std"))
    runtime = served.runtime
    unnamed = f"\nThe names of the {outputs} are not known: `{CLASSES}` takes a list of them as `names`.\n"
    return f"""\
# {document["model"]}, quantized

`{model}` is an image model of {served.classes} {outputs} for {_NAMES.get(runtime, runtime)}.
It was written by bitfront {bitfront_version()} (scheme {document["scheme"]}).

## Run it

```console
pip install {runtime} numpy pillow
python predict.py photo.jpg
```

```python
from predict import Model  # {PREDICT} of this folder

model = Model()
for guess in model.predict("photo.jpg"):
    print(guess.name, guess.probability)
```

`python predict.py --help` tells of batches, threads and JSON.

## Input and output

| | |
|---|---|
| input | `images`, {shape} ({LAYOUT}, {facts.colour}); any number of images |
| range | {low:.4g} (black) to {high:.4g} (white) |
| mean, standard deviation | {mean}; {std} (of values from 0 to 1, by channel) |
| output | `logits`, {DTYPE} `[batch, {served.classes}]`; {probabilities} gives probabilities |

An image becomes the input in these steps, which `{PREPROCESSING}` has in numbers and `{PREDICT}` takes:

{steps}
{"" if facts.class_names else unnamed}
## What it is worth

{_worth(document, report)}

## Files

| | |
|---|---|
| `{model}` | the model; the facts of this page are in its metadata as well |
| `{PREPROCESSING}`, `{CLASSES}` | the input and the outputs, for programs |
| `{PREDICT}` | classifies images |
| `{BIT_CONFIG}` | the bits of every layer, what the search measured and its settings |
| `{RECORD}`, `{RESULTS}` | the model beside what was evaluated, altogether and for each image |

With bitfront and the same data, `bitfront verify FOLDER --data DATA` compares them again.
"""


def _equality(report: Mapping[str, Any]) -> str:
    """How many images are decided alike; of a golden model, how many have the same logits to the bit."""
    if report["to_the_bit"]:
        return (
            f"Logits equal to the evaluator's to the bit: {report['bit_equal_images']:,} of "
            f"{count_of(report['images'], 'image')}."
        )
    return f"Equal predictions: {report['equal_predictions']:.2f} %."


def _worth(document: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """Figures, a line each."""
    lines = []
    if report is not None:
        task = task_named(report["task"])
        name, title = task.counted, task.metric(task.counted).title
        lines.append(
            f"{title} {report[name]:.2f} % on {count_of(report['images'], 'test image')} in "
            f"{report['runtime']} {report['runtime_version']}; evaluated before the export: "
            f"{report[f'evaluator_{name}']:.2f} %. {_equality(report)}"
        )
        lines.append("Verified." if report["passed"] else f"NOT VERIFIED: {'; '.join(report['faults'])}.")
    else:
        lines.append("The file was not verified.")
    refined = (document.get("provenance") or {}).get("refined")
    if refined is not None:
        lines.append(f"Refined by learning from images without labels: {refined['images']}.")
    latency, source = (
        (document.get("measured") or {}).get("latency_ms"),
        document["measured"].get("latency_source"),
    )
    if latency is not None:
        lines.append(f"Latency of a batch as the search saw it: {latency:.4g} ms ({source}).")
    return "\n".join(lines)
