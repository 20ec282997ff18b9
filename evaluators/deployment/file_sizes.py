"""Sizes of exported graphs at any configuration, exact before anything is written.

A graph is a sum over its encoders, and what an encoder takes follows from its shape and widths, not from
values. So few graphs are made, with made-up weights of the right shapes, and all others are added up: what a
kind of tensor at a width takes more than at 8 bits in the first encoder of a shape, and in every further one,
which shares constants with it. What a file carries besides, its bit config document, is a part of it.
"""

from __future__ import annotations

import functools
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from xml.sax.saxutils import quoteattr

import torch

from bitfront.evaluators.deployment.graph.model import float_graph
from bitfront.evaluators.deployment.graph.operands import ONNXRUNTIME
from bitfront.evaluators.deployment.graph.parts import GraphParts, check_graph_scheme
from bitfront.evaluators.deployment.graph_files import carried, onnx_bytes, save_openvino, write_openvino
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.recipes import GROUPED_WEIGHTS, Recipe
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.weights import QuantizedWeight, groups_of, largest_factor
from bitfront.spaces import BitConfig, EncoderBits, FormatName, Kind, number_format
from bitfront.spaces.config import collapse
from bitfront.spaces.precision import MAX_BITS

# Makes the document that a file of a configuration carries, as far as its length is concerned.
DocumentOf = Callable[[BitConfig], Mapping[str, Any]]


class GraphFiles(Protocol):
    """Measures files of one format."""

    def bytes_of(self, parts: GraphParts, config: BitConfig, document: Mapping[str, Any]) -> int:
        """Bytes of the file of a configuration, with all that belongs to it."""

    def document_bytes(self, document: Mapping[str, Any]) -> int:
        """What a document takes of that, but for what is the same for all."""

    def float_bytes(self, blueprint: Blueprint) -> int:
        """The same of the float model, which carries no document."""


class OnnxFiles:
    """ONNX files, in the dialect that an export has unless another runtime is named."""

    def bytes_of(self, parts: GraphParts, config: BitConfig, document: Mapping[str, Any]) -> int:
        """See :class:`GraphFiles`."""
        return len(onnx_bytes(parts, config, ONNXRUNTIME, document))

    def document_bytes(self, document: Mapping[str, Any]) -> int:
        """See :class:`GraphFiles`."""
        return sum(len(value.encode()) for value in carried(document))

    def float_bytes(self, blueprint: Blueprint) -> int:
        """See :class:`GraphFiles`."""
        return int(float_graph(blueprint).ByteSize())


class OpenvinoFiles:
    """OpenVINO's ``.xml`` and ``.bin`` together."""

    def bytes_of(self, parts: GraphParts, config: BitConfig, document: Mapping[str, Any]) -> int:
        """See :class:`GraphFiles`."""
        with tempfile.TemporaryDirectory() as folder:
            return _together(write_openvino(Path(folder) / "model.xml", parts, config, document))

    def document_bytes(self, document: Mapping[str, Any]) -> int:
        """See :class:`GraphFiles`."""
        return sum(len(quoteattr(value, {'"': "&quot;"}).encode()) for value in carried(document))

    def float_bytes(self, blueprint: Blueprint) -> int:
        """See :class:`GraphFiles`."""
        graph = float_graph(blueprint).SerializeToString()
        with tempfile.TemporaryDirectory() as folder:
            return _together(save_openvino(Path(folder) / "model.xml", graph, None))


GRAPH_FILES: dict[str, Callable[[], GraphFiles]] = {"onnx": OnnxFiles, "openvino": OpenvinoFiles}


def _together(files: tuple[Path, ...]) -> int:
    return sum(path.stat().st_size for path in files)


class Part(NamedTuple):
    """Tensors of an encoder that take a width together: a kind, of one layer or of all (None)."""

    shape: tuple[object, ...]
    kind: Kind
    layer: str | None
    width: FormatName


class _Price(NamedTuple):
    """What a part takes more than at 8 bits: in one encoder of its shape, in a further one, in all."""

    encoders: int
    first: int
    further: int
    everywhere: int

    def of(self, count: int) -> int:
        """In so many encoders: where none is left at 8 bits, what those share is not there either."""
        return self.everywhere if count == self.encoders else self.first + (count - 1) * self.further


@dataclass(frozen=True, eq=False)
class GraphSizes:
    """Sizes of a model's exported graphs at any configuration, and of its float graph.

    Attributes:
        files: Measures those that are made.
        prepared: The model: its shapes, and the grids and codebooks of its activations.
        recipe: What it was prepared with.
        document_of: The documents that files carry.
    """

    files: GraphFiles
    prepared: PreparedModel
    recipe: Recipe
    document_of: DocumentOf

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the files of a configuration."""
        total = float(self._base) + self.files.document_bytes(self.document_of(config)) - self._documented
        parts = Counter(self._parts_of(config))
        total += sum(self._price(part).of(count) for part, count in parts.items())
        # Shapes and layers share some constants, too.
        together = Counter((part.kind, part.layer is None, part.width) for part in parts)
        for (kind, whole, width), present in together.items():
            total += self._shared(kind, whole, width) * (present - 1)
        return round(total)

    @functools.cached_property
    def _float(self) -> int:
        return self.files.float_bytes(self.prepared.blueprint)

    def float_bytes(self) -> int:
        """Bytes of the float model in the same format."""
        return self._float

    @functools.cached_property
    def _base(self) -> int:
        return self._measured(self._wide)

    @functools.cached_property
    def _wide(self) -> BitConfig:
        blueprint, bits = self.prepared.blueprint, (MAX_BITS,) * 3
        layers = blueprint.encoder_layers()
        return BitConfig.uniform(blueprint.name, self.prepared.scheme, layers, (bits[0], bits[1], bits[2]))

    @functools.cached_property
    def _graph(self) -> GraphParts:
        """Parts as large as those that are exported."""
        check_graph_scheme(self.prepared.scheme)
        blueprint, grouped = self.prepared.blueprint, GROUPED_WEIGHTS in self.recipe

        @functools.cache
        def layer(index: int, name: str, bits: FormatName, inputs: FormatName) -> FittedLayer:  # noqa: ARG001
            return made_up(blueprint.encoders[index].linear()[name], bits, grouped, f"{index}.{name}.{bits}")

        @functools.cache
        def outer(name: str) -> FittedLayer:
            return made_up(blueprint.outer()[name], MAX_BITS, False, name)

        return GraphParts(blueprint, self.prepared.calibration, self.prepared.log_steps, layer, outer)

    @functools.cached_property
    def _documented(self) -> int:
        """What the document takes that all made graphs carry."""
        return self.files.document_bytes(self.document_of(self._wide))

    def _measured(self, config: BitConfig) -> int:
        return self.files.bytes_of(self._graph, config, self.document_of(self._wide))

    def _shape(self, index: int) -> tuple[object, ...]:
        encoder = self.prepared.blueprint.encoders[index]
        window = () if encoder.window is None else tuple(encoder.window.rows.shape)
        masked = int(encoder.window is not None and encoder.window.mask is not None)
        layers = tuple(tuple(parts.weight.shape) for parts in encoder.linear().values())
        between = encoder.peculiarities(), encoder.hidden_scales is not None
        return (encoder.tokens, encoder.heads, layers, window, masked, *between)

    def _parts_of(self, config: BitConfig) -> Iterator[Part]:
        """What a configuration has in another format than 8-bit integers."""
        kinds: tuple[Kind, Kind] = ("weights", "activations")
        for encoder in config.encoders:
            shape = self._shape(encoder.index)
            for kind in kinds:
                bits = getattr(encoder, kind)
                by_layer = bits if isinstance(bits, tuple) else [(None, bits)]
                yield from (Part(shape, kind, layer, held) for layer, held in by_layer if held != MAX_BITS)
            if encoder.attention != MAX_BITS:
                yield Part(shape, "attention", None, encoder.attention)

    @functools.cache  # noqa: B019 - it lives as long as the search that asks
    def _price(self, part: Part) -> _Price:
        """What a part takes more than at 8 bits, by how many encoders of its shape have it."""
        alike = self._alike(part.shape)

        def more(count: int) -> int:
            return self._measured(self._with([(part, alike[:count])])) - self._base

        first, everywhere = more(1), more(len(alike))
        further = more(2) - first if len(alike) > 2 else 0
        return _Price(len(alike), first, further, everywhere)

    @functools.cache  # noqa: B019 - the same
    def _shared(self, kind: Kind, whole: bool, width: FormatName) -> float:
        """What each further shape or layer takes less than alone, where a kind is narrow in all of them."""
        wide = self._wide.encoders
        shapes = {self._shape(encoder.index): encoder.index for encoder in wide}
        parts = [
            Part(shape, kind, layer, width)
            for shape, index in shapes.items()
            for layer in ([None] if whole else sorted(self.prepared.blueprint.encoders[index].linear()))
        ]
        if len(parts) == 1:
            return 0.0
        changed = self._with([(part, self._alike(part.shape)) for part in parts])
        apart = sum(self._price(part).everywhere for part in parts)
        return (self._measured(changed) - self._base - apart) / (len(parts) - 1)

    def _alike(self, shape: tuple[object, ...]) -> list[int]:
        return [encoder.index for encoder in self._wide.encoders if self._shape(encoder.index) == shape]

    def _with(self, changes: Sequence[tuple[Part, Sequence[int]]]) -> BitConfig:
        """All at 8 bits but for some parts, each in some encoders."""
        encoders = list(self._wide.encoders)
        for part, indices in changes:
            for index in indices:
                encoders[index] = self._narrowed(encoders[index], part)
        return replace(self._wide, encoders=tuple(encoders))

    def _narrowed(self, encoder: EncoderBits, part: Part) -> EncoderBits:
        if part.layer is None:
            return _with_bits(encoder, part.kind, part.width)
        names = self.prepared.blueprint.encoders[encoder.index].linear()
        bits = {name: encoder.bits(part.kind, name) for name in names} | {part.layer: part.width}
        return _with_bits(encoder, part.kind, collapse(bits))


def _with_bits(encoder: EncoderBits, kind: Kind, bits: Any) -> EncoderBits:
    changed: dict[str, Any] = {kind: bits}
    return replace(encoder, **changed)


def made_up(parts: LinearParts, held: FormatName, grouped: bool, name: str) -> FittedLayer:
    """A layer of the right shapes; its values are drawn by its name, so that none is another's."""
    outputs, inputs = parts.weight.shape
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    kind = number_format(held)
    bits = kind.bits
    if kind.floating:
        values = FloatWeight.of(torch.rand((outputs, inputs), generator=generator), kind.name, name)
        return FittedLayer(values, torch.rand(outputs, generator=generator))
    low, high = -(1 << (bits - 1)) + 1, 1 << (bits - 1)
    codes = torch.randint(low, high, (outputs, inputs), generator=generator, dtype=torch.int8)
    factors = None
    if grouped and kind.plain and (largest := largest_factor(bits)) > 1:
        shape = (outputs, groups_of(inputs))
        factors = torch.randint(1, largest + 1, shape, generator=generator, dtype=torch.int64).to(torch.uint8)
    scales = torch.rand(outputs, generator=generator) + 0.5
    weight = QuantizedWeight.of_narrow_codes(codes, scales, bits, factors)
    if kind.zero_points:
        zeros = torch.randint(low, high, (outputs,), generator=generator, dtype=torch.int8)
        weight = replace(weight, zeros=zeros)
    return FittedLayer(weight, torch.rand(outputs, generator=generator))
