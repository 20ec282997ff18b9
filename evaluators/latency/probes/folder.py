"""The folder that is taken to another machine: small graphs, their values, a manifest, and what runs them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bitfront.evaluators.deployment.graph.model import (
    configuration_graph,
    encoder_graph,
    float_graph,
    rest_graph,
)
from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.latency.graph_runtime import ROW, graph_program
from bitfront.evaluators.latency.probes import probe as runner
from bitfront.evaluators.latency.probes.plan import ANCHOR, CHECK, ENCODER, FLOAT_MODEL, REST, Probe, planned
from bitfront.evaluators.latency.table import encoder_shape, timed_encoders
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import BitConfig, Triple, triples

README, RUNNER = "README.md", "probe.py"
# Tensors of fewer bytes, and vectors (scales, biases, norms), stay in the graph as they are.
_LEAST_BYTES = 4096
# Values lie at places of their own within the file, so that no runtime takes two tensors for the same one.
_ALIGNMENT, _PLACES = 4096, 64
_FLOATS, _CODES = "floats.bin", "codes.bin"
# Of float weights: with larger ones activations would grow from layer to layer.
_DEVIATION = 0.02


@dataclasses.dataclass(frozen=True)
class ProbeFolder:
    """What was written.

    Attributes:
        path: The folder.
        size_bytes: All of it.
        probes: Graphs that are timed, by runtime.
        fitted: Times of a table that follow from others.
    """

    path: Path
    size_bytes: int
    probes: Mapping[str, int]
    fitted: int


def write_probes(
    folder: Path,
    subject: Subject,
    ends: tuple[Triple, Triple],
    anchors: list[BitConfig],
    checks: list[BitConfig],
    progress: ShareDone = unreported,
) -> ProbeFolder:
    """Writes the folder of a model.

    Weights are shared random values in files beside the graphs, which refer to them as ONNX's external data:
    times depend on shapes and precisions, not on values, and a folder is a tenth as large as one model.

    Args:
        folder: An empty or new one.
        subject: The prepared model.
        ends: The widest precision of integers, and the narrowest one.
        anchors: Whole models that tables are fitted to: the widest and the narrowest.
        checks: Whole models that tell the error of sums.
        progress: Hears the share that is done.

    Raises:
        UserError: The scheme has no graphs, or the folder cannot be written.
    """
    prepared = subject.prepared
    parts, encoders = GraphParts.for_timing(prepared), timed_encoders(prepared.blueprint)
    programs = {
        triple: graph_program(triple) for triple in dict.fromkeys((*ends, *triples(prepared.choices)))
    }
    plan = planned(encoders, programs, ends, anchors, checks)
    graphs = folder / runner.GRAPHS
    graphs.mkdir(parents=True, exist_ok=True)
    values, hashes, documents = _Values(), dict[str, str](), dict[str, Any]()
    configs = dict(
        zip([p.name for p in plan.probes if p.part in (ANCHOR, CHECK)], [*anchors, *checks], strict=True)
    )
    total = len(plan.probes) * len(DIALECTS)
    for runtime, dialect in DIALECTS.items():
        listed = []
        for probe in plan.probes:
            name = f"{probe.name}.onnx" if probe.part == FLOAT_MODEL else f"{runtime}-{probe.name}.onnx"
            if name not in hashes:
                graph = _graph(probe, subject, parts, dialect, configs)
                content = values.taken_out(graph)
                write_atomically(graphs / name, content)
                hashes[name] = hashlib.sha256(content).hexdigest()
                shape = [int(axis.dim_value) for axis in graph.graph.input[0].type.tensor_type.shape.dim[1:]]
            listed.append({**probe.to_json(), "file": name, "input": shape})
            progress((len(listed) + len(plan.probes) * len(documents)) / total)
        documents[runtime] = {"probes": listed}
    for name, content in values.files().items():
        write_atomically(graphs / name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    manifest = {
        "format": runner.MANIFEST_FORMAT,
        "version": runner.MANIFEST_VERSION,
        "bitfront": version("bitfront"),
        "model": prepared.blueprint.name,
        "scheme": prepared.scheme,
        "encoders": [encoder_shape(encoder) for encoder in prepared.blueprint.encoders],
        "row": ROW,
        "heaviest": plan.heaviest,
        "widest": list(plan.widest),
        "narrowest": list(plan.narrowest),
        "entries": [[shape, list(bits), name or ""] for (shape, bits), name in plan.entries.items()],
        "runtimes": documents,
        "files": hashes,
    }
    for runtime, found in documents.items():
        lines = [f"{probe['file']} {','.join(map(str, probe['input']))}\n" for probe in found["probes"]]
        write_atomically(folder / f"{runtime}.txt", "".join(lines))
    write_atomically(folder / RUNNER, Path(runner.__file__).read_text(encoding="utf-8"))
    write_atomically(folder / README, readme(manifest))
    write_atomically(folder / runner.MANIFEST, json.dumps(manifest, indent=1))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    counts = {name: len(found["probes"]) for name, found in documents.items()}
    return ProbeFolder(folder, size, counts, sum(name is None for name in plan.entries.values()))


def _graph(
    probe: Probe, subject: Subject, parts: GraphParts, dialect: Any, configs: Mapping[str, BitConfig]
) -> onnx.ModelProto:
    if probe.part == FLOAT_MODEL:
        return float_graph(subject.prepared.blueprint)
    if probe.part == REST:
        return rest_graph(parts, subject.widest, dialect)
    if probe.part == ENCODER:
        assert probe.key is not None
        shape, bits = probe.key
        shapes = [encoder_shape(encoder) for encoder in subject.prepared.blueprint.encoders]
        return encoder_graph(parts, subject.uniform(bits), dialect, [shapes.index(shape)] * ROW)
    return configuration_graph(parts, configs[probe.name], dialect)


class _Values:
    """The random values that tensors of graphs are replaced by."""

    def __init__(self) -> None:
        self._longest = {_FLOATS: 0, _CODES: 0}
        self._places = random.Random(0)  # noqa: S311 - places in a file, no secrets

    def taken_out(self, model: onnx.ModelProto) -> bytes:
        """The graph as a file whose large tensors lie in the files of values."""
        for tensor in model.graph.initializer:
            length = len(tensor.raw_data)
            if len(tensor.dims) < 2 or length < _LEAST_BYTES:
                continue
            name = _FLOATS if tensor.data_type == onnx.TensorProto.FLOAT else _CODES
            self._longest[name] = max(self._longest[name], length)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            offset = _ALIGNMENT * self._places.randrange(_PLACES)
            for key, value in (("location", name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
        return bytes(model.SerializeToString())

    def files(self) -> dict[str, bytes]:
        """The files of values, large enough for every tensor."""
        rng = np.random.default_rng(0)
        more = _ALIGNMENT * _PLACES
        floats = _DEVIATION * rng.standard_normal((self._longest[_FLOATS] + more) // 4, dtype=np.float32)
        codes = rng.integers(0, 256, self._longest[_CODES] + more, dtype=np.uint8)
        return {_FLOATS: floats.tobytes(), _CODES: codes.tobytes()}


def readme(manifest: Mapping[str, Any]) -> str:
    """How the folder is used, with a recipe where Python is not."""
    return f"""# Latency of {manifest["model"]} on this machine

```console
python probe.py                              # every installed runtime, one image, one thread
python probe.py --threads 1,2 --batch 1,8    # four sets of times
```

needs Python 3.10 or later, numpy, and onnxruntime or openvino: `pip install numpy onnxruntime`. It writes
`timings.json`; interrupted, it goes on where it stopped. Where bitfront is installed,

```console
bitfront latency-table --from-probe timings.json
```

makes a latency table of each set of times. Weights are random; times do not depend on them.

## Without Python

OpenVINO's `benchmark_app` (C++, which is also built for Android) times one file. `openvino.txt` has the files
and the shapes of their inputs for one image:

```sh
echo probe,threads,batch,milliseconds > times.csv
for round in 1 2 3 4 5; do
  while read file shape; do
    ms=$(benchmark_app -m graphs/$file -shape "[1,$shape]" -d CPU -hint none -nstreams 1 -nthreads 1 \\
           -api sync -t 1 -infer_precision f32 < /dev/null |
         awk '/Median:/ {{ print $(NF - 1) / ($NF == "us" ? 1000 : 1) }}')
    echo "$file,1,1,$ms" >> times.csv
  done < openvino.txt
done
```

On Android the same lines run in `adb shell`, with the folder pushed to `/data/local/tmp` and
`LD_LIBRARY_PATH` at OpenVINO's libraries. For ONNX Runtime, `onnxruntime_perf_test` takes the files of
`onnxruntime.txt`. Then, on any machine with Python and without any package:

```console
python probe.py --collect times.csv --runtime openvino --machine "the phone's name"
```
"""
