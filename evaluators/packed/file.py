"""Packed files: a quantized model of one configuration in a safetensors file that is as small as its codes.

Beside the tensors of :class:`~bitfront.evaluators.packed.layout.PackedLayout`, whose bytes are the size that
a search reports, the metadata in its header has one text, ``document``: JSON of :class:`PackedDocument`, with
a digest of everything in the file. The tensors are

``<layer>.weight``
    U8, the codes ``[out, in]`` of a linear layer, row by row, side by side in bytes as
    :mod:`~bitfront.evaluators.packed.bits` says: signed, in two's complement, 4-bit ones two to a
    byte, the first in the low half. Where inputs come in groups of 16, there follow the groups' factors
    ``[out, groups]``, from a new byte on, each minus one and in as many bits as a code leaves of eight. A
    weight is code times factor times scale.
    Weights in a float format are BF16, F16 or F32 ``[out, in]``, without scales.
``<layer>.weight.scale``, ``<layer>.weight.bias``
    F32, of each output channel.
``<layer>.weight.zero_point``
    I8, of each output channel, where weights have zero points: a weight is code less zero point, times scale.
``<site>.scale``, ``<site>.zero_point``, ``<site>.exponents``
    The grid of an activation tensor, F32 and U8; in the residual stream of scheme ``fq-vit`` the scale of
    channel ``c`` is ``scale * 2^exponents[c]``.
``levels``
    U8, for each tensor that has a codebook, in the order of execution, the codes of its 8-bit grid that stand
    for all, ascending, the largest repeated up to as many as its width has codes.
``score_scales``
    F32, the factors of all heads from products of queries and keys to scores, encoder by encoder.
``log_steps``
    F32, binary logarithms of the bases of 4-bit attention codes, for each encoder that has such.
``prefix``, ``positions``, ``<encoder>.attn.bias_table``, ``<norm>.weight``, ``<norm>.bias``
    As they are: F32, or U8 codes on the grid of their site where the scheme has them as integers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bitfront.evaluators.data.images import preprocessing_from_json
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.models.architecture import architecture_in
from bitfront.evaluators.models.blueprint import Blueprint, blueprint_on, map_tensors
from bitfront.evaluators.models.families import blueprint_outline
from bitfront.evaluators.models.outlines import model_outline
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.decoding import (
    check_finite,
    decode_blueprint,
    decode_grids,
    decode_log_steps,
    decode_weight,
    with_scales,
)
from bitfront.evaluators.packed.encoding import encode
from bitfront.evaluators.packed.header import DOCUMENT, PackedDocument, PackedHeader, check_digest
from bitfront.evaluators.packed.layout import PackedLayout
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.recipes import Recipe
from bitfront.evaluators.quantized.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.parts import PartsBuilder
from bitfront.evaluators.quantized.prepared import PreparedModel, check_config
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.errors import one_line
from bitfront.spaces.formats import multiplies_integers

_LONGEST_REASON = 300


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A quantized model of one configuration, on the CPU.

    Attributes:
        config: Its bits.
        document: Its bit config document, with what was measured and where it comes from.
        recipe: What it was prepared with.
        blueprint: The model; its linear layers are on the meta device and have no values.
        calibration: The grid of every activation site at its width.
        layers: Linear layers of the encoders, by index and name.
        outer: The other linear layers, by the names of :meth:`Blueprint.outer`.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder; 1 where it is missing.
        data_config: timm's resolved preprocessing: ``input_size``, ``mean``, ``std``, ``crop_pct``, ...
    """

    config: BitConfig
    document: Mapping[str, Any]
    recipe: Recipe
    blueprint: Blueprint
    calibration: Calibration
    layers: Mapping[tuple[int, str], FittedLayer]
    outer: Mapping[str, FittedLayer]
    log_steps: Mapping[int, float]
    data_config: Mapping[str, Any]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.blueprint.readout.heads[0].bias)

    def assemble(self, kernels: Kernels | None = None) -> QuantizedModel:
        """The model as it was before it was packed: its logits are the same, bit by bit, on the same kernels.

        Args:
            kernels: What computes; the quickest of the CPU where None.
        """
        kernels = kernels or kernels_for(torch.device("cpu"))
        here = self._on(kernels.device)
        build = PartsBuilder(here.blueprint, here.calibration, self.config.scheme, self.log_steps, kernels)
        embedding, merges, readout = build.around_encoders(here.outer)
        encoders = []
        for bits, parts in zip(self.config.encoders, here.blueprint.encoders, strict=True):
            layers, linear = {}, {}
            for name in parts.linear():
                layer = here.layers[bits.index, name]
                if multiplies_integers(bits.bits("weights", name), bits.bits("activations", name)):
                    linear[name] = build.linear(layer)
                else:
                    layers[name] = layer
            encoders.append(build.encoder(bits, layers, linear))
        return QuantizedModel(embedding, tuple(encoders), merges, readout)

    def _on(self, device: torch.device) -> PackedModel:
        def there(_: str, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device)

        return dataclasses.replace(
            self,
            blueprint=blueprint_on(self.blueprint, device),
            layers=map_tensors(self.layers, there, "layers"),
            outer=map_tensors(self.outer, there, "outer"),
        )


def write_packed(
    path: Path, prepared: PreparedModel, config: BitConfig, recipe: Recipe, document: Mapping[str, Any]
) -> int:
    """Writes a configuration of a model, complete or not at all.

    Args:
        path: The file, usually ``.safetensors``.
        prepared: A model that kept its codes.
        config: Its bits.
        recipe: What it was prepared with.
        document: The bit config document, ``config.to_json(...)``.

    Returns:
        Bytes of the file.

    Raises:
        UserError: The configuration does not fit the model, or the place cannot be written.
        BitfrontError: The model kept no codes or was prepared by another recipe, or the disk is full.
        ValueError: ``document`` is of another configuration.
    """
    prepared.check(config)
    # What is read is compared: layers of like bits may be written in two ways.
    if BitConfig.from_json(document) != BitConfig.from_json(config.to_json()):
        raise ValueError("the document is of another configuration")
    blueprint = prepared.blueprint
    layout = PackedLayout(blueprint, trace_sites(blueprint, config.scheme), config.scheme, recipe, config)
    tensors = encode(prepared, layout)
    classes = len(blueprint.readout.heads[0].bias)
    text = PackedDocument(blueprint.name, classes, recipe, config, document).to_text(tensors)
    content = save(tensors, metadata={DOCUMENT: text})
    write_atomically(path, content)
    return len(content)


def read_packed(path: Path) -> PackedModel:
    """Reads a packed file of whatever origin.

    Raises:
        UserError: It cannot be read, or is not what :func:`write_packed` writes; the message says where.
    """
    try:
        if not path.is_file():
            raise UserError(f"no such file: {path}; expected a packed model, written by `bitfront export`")
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; expected a packed model") from error
    with file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except (UserError, OSError) as error:
            raise UserError(
                f"{path} is not a packed model that can be read: {one_line(error, _LONGEST_REASON)}; "
                "write it again with `bitfront export`"
            ) from error


def _read(file: BinaryIO, size: int) -> PackedModel:
    header = PackedHeader.read(file, size)
    document = PackedDocument.from_text(header.document)
    if document.classes > size:
        raise UserError(f"it has more classes than its {size} bytes could hold")
    architecture = architecture_in(document.bit_config)
    if architecture is None and ":" in document.model:  # no file of whatever origin leads to the hub
        raise UserError(f"unknown model {document.model!r}: it needs a description beside its name")
    module = model_outline(document.model, document.classes, architecture)
    outline, config = blueprint_outline(document.model, module), document.config
    check_config(config, outline, config.scheme)
    outline = with_scales(outline, header.entries)
    sites = trace_sites(outline, config.scheme)
    layout = PackedLayout(outline, sites, config.scheme, document.recipe, config)
    header.check(layout.tensors(), size)
    try:
        tensors = load(header.content + file.read(size - len(header.content)))
    except SafetensorError as error:
        raise UserError(f"it is not a valid safetensors file ({error})") from error
    check_digest(header.document, tensors)
    check_finite(tensors)
    calibration = decode_grids(layout, tensors)
    layers = {weight: decode_weight(weight, tensors) for weight in layout.weights}
    return PackedModel(
        config,
        document.bit_config,
        document.recipe,
        decode_blueprint(layout, calibration, tensors),
        calibration,
        {(w.site.encoder, w.site.layer): layer for w, layer in layers.items() if w.site.encoder is not None},
        {weight.layer: layer for weight, layer in layers.items() if weight.site.encoder is None},
        decode_log_steps(layout, tensors),
        _preprocessing(document.bit_config, module),
    )


def _preprocessing(document: Mapping[str, Any], module: Any) -> Mapping[str, Any]:
    """How the document says that images are preprocessed; as the model itself has it where it does not."""
    import timm.data

    provenance = document.get("provenance")
    if isinstance(provenance, dict) and "preprocessing" in provenance:
        try:
            return preprocessing_from_json(provenance["preprocessing"])
        except ValueError as error:
            raise UserError(f"its preprocessing cannot be used: {error}") from error
    return dict(timm.data.resolve_data_config({}, model=module))
