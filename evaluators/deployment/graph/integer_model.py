"""The golden model: scheme ``fq-vit`` as an ONNX graph that computes the evaluator's codes to the bit.

Every site's codes go by the site's name, such as ``blocks.0.attn.qkv``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.blocks import cut_patches
from bitfront.evaluators.deployment.graph.integer_attention import BiasTable, IntegerAttention
from bitfront.evaluators.deployment.graph.integer_operators import IntegerOperators
from bitfront.evaluators.deployment.graph.model import BATCH, IMAGES, LOGITS
from bitfront.evaluators.deployment.graph.step_function import StepTable, gelu_codes
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.sites import FOLLOWS
from bitfront.evaluators.quantized.fq_vit import FqVit
from bitfront.evaluators.quantized.integer_stages import CodeProjection, IntegerSum, NormThenAverage
from bitfront.evaluators.quantized.model import QuantizedEncoder
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, EncoderBits
from bitfront.spaces.schemes import FQ_VIT, pinned_bits

_PINNED = dict(pinned_bits(FQ_VIT))


def golden_graph(prepared: PreparedModel, config: BitConfig, metadata: str | None = None) -> onnx.ModelProto:
    """The ONNX model of a configuration: ``images [batch, channels, rows, columns]`` to ``logits``.

    Args:
        prepared: A model of scheme ``fq-vit`` that kept its codes; its kernels are what the graph equals.
        config: The configuration.
        metadata: A document that the file carries.
    """
    golden = _GoldenModel(prepared, config, IntegerOperators(GraphWriter()))
    golden.write()
    shape, classes = prepared.blueprint.image_shape, len(prepared.blueprint.readout.heads[0].bias)
    return golden.operators.writer.model({IMAGES: (BATCH, *shape)}, {LOGITS: (BATCH, classes)}, metadata)


@dataclass(frozen=True, eq=False)
class _GoldenModel:
    """Writes a model stage by stage.

    Attributes:
        prepared: The model.
        config: The configuration.
        operators: The stages, and the graph.
    """

    prepared: PreparedModel
    config: BitConfig
    operators: IntegerOperators

    @functools.cached_property
    def _stages(self) -> FqVit:
        prepared = self.prepared
        return FqVit(prepared.blueprint, prepared.calibration, prepared.kernels)

    def write(self) -> None:
        """Writes images to logits."""
        merges = self.prepared.blueprint.merges
        x = self._embed()
        for bits in self.config.encoders:
            if bits.index in merges:
                x = self._merge(bits.index, x)
            x = self._encode(bits, x)
        self._read(x)

    def _embed(self) -> str:
        """Codes of the stream that enters the first encoder or merging."""
        operators, writer, blueprint = self.operators, self.operators.writer, self.prepared.blueprint
        grid = self.prepared.calibration.grid("image", _PINNED["embedding"])
        patches = cut_patches(writer, blueprint, operators.quantized(IMAGES, grid, "image"))
        project = self._stages.project_patches(self.prepared.fitted_outer("patch_embed"))
        site, prefix = blueprint.embedded_site, self._stages.prefix().cpu().numpy()
        x = self._projected(patches, project, "patch_embed", None if len(prefix) else site)
        if len(prefix):
            batch = writer.op("Shape", x, start=0, end=1)
            shape = writer.op("Concat", batch, writer.integers(*prefix.shape), axis=0)
            tokens = writer.op("Expand", writer.constant(prefix, "prefix"), shape)
            x = writer.op("Concat", tokens, x, axis=1, output=site)
        positions, norm = self._stages.positions(), self._stages.embed_norm()
        if positions is not None:
            added = writer.constant(positions.codes.cpu().numpy(), "pos_embed")
            x = operators.added(x, added, positions.sum.terms, "embed" if norm is None else "embed_sum")
        return x if norm is None else operators.norm(x, norm.terms, "embed", "embed")

    def _projected(self, codes: str, project: CodeProjection, layer: str, site: str | None) -> str:
        value = self.operators.linear(codes, project.source, project.layer, layer)
        return self.operators.requantized(value, project.out, site)

    def _merge(self, index: int, x: str) -> str:
        """Codes of the stream behind a patch merging."""
        writer, merge, site = self.operators.writer, self.prepared.blueprint.merges[index], "reduction"
        rows = writer.constant(merge.rows.flatten().cpu().numpy())
        beside = writer.reshape(
            writer.op("Gather", x, rows, axis=1), -1, len(merge.rows), len(merge.norm.weight)
        )
        name, norm = f"{merge.name}.norm", self._stages.merge_norm(index)
        normed = self.operators.norm(beside, norm.terms, name, name)
        layer = f"{merge.name}.{site}"
        project = self._stages.merge_projection(index, self.prepared.fitted_outer(layer))
        return self._projected(normed, project, layer, layer)

    def _encode(self, bits: EncoderBits, x: str) -> str:
        """Codes of the stream behind an encoder."""
        encoder, operators = self.prepared.encoder(bits), self.operators
        assert isinstance(encoder, QuantizedEncoder), "the scheme is of integers"

        def normed(codes: str, number: int) -> str:
            width = bits.bits("activations", FOLLOWS[f"norm{number}"])
            terms, site = self._stages.norm(bits.index, number, width).terms, f"{bits.name}.norm{number}"
            codebook = encoder.codebooks.get(f"norm{number}")
            found = operators.norm(codes, terms, None if codebook is not None else site, site)
            return found if codebook is None else operators.looked_up(found, codebook, site)

        def linear(codes: str, site: str, layer: str) -> str:
            widths = bits.bits("weights", layer), bits.bits("activations", layer)
            fitted = self.prepared.fitted(bits.index, layer, *widths)
            return operators.linear(codes, encoder.grids[site], fitted, f"{bits.name}.{layer}")

        def added(codes: str, layer: str, update: str, total: IntegerSum, site: str) -> str:
            codes_added = operators.requantized(update, total.added, f"{bits.name}.{layer}")
            return operators.added(codes, codes_added, total.terms, f"{bits.name}.{site}")

        first, second = self._stages.updates(bits.index)
        qkv = operators.requantized(linear(normed(x, 1), "norm1", "attn.qkv"), encoder.grids["attn.qkv"])
        qkv = operators.looked_up(qkv, encoder.codebooks.get("attn.qkv"), f"{bits.name}.attn.qkv")
        context = self._attention(bits, encoder).context(qkv)
        site = f"{bits.name}.attn.context"
        context = operators.looked_up(context, encoder.codebooks.get("attn.context"), site)
        x = added(x, "attn.proj", linear(context, "attn.context", "attn.proj"), first, "residual1")
        hidden = linear(normed(x, 2), "norm2", "mlp.fc1")
        gelu = operators.stepped(hidden, self._gelu(encoder), f"{bits.name}.mlp.gelu")
        return added(x, "mlp.fc2", linear(gelu, "mlp.gelu", "mlp.fc2"), second, "residual2")

    def _gelu(self, encoder: QuantizedEncoder) -> StepTable:
        grid, codebook = encoder.grids["mlp.gelu"], encoder.codebooks.get("mlp.gelu")
        return StepTable.of(gelu_codes(self.prepared.kernels, grid, codebook), grid)

    def _attention(self, bits: EncoderBits, encoder: QuantizedEncoder) -> IntegerAttention:
        parts, grid = self.prepared.blueprint.encoders[bits.index], self.prepared.calibration.grid
        softmax, bias = encoder.attention.softmax, None
        assert softmax is not None, "the scheme's softmax is of integers"
        if parts.window is not None:
            table = grid(f"{bits.name}.attn.bias", _PINNED["scores"])
            scores = grid(f"{bits.name}.attn.scores", _PINNED["scores"])
            bias = BiasTable(table, table.scale / scores.scale)
        return IntegerAttention(self.operators, parts, encoder.attention, softmax, bias)

    def _read(self, x: str) -> None:
        """Writes logits of the last stream."""
        operators, writer, readout = self.operators, self.operators.writer, self.prepared.blueprint.readout
        grid = self.prepared.calibration.grid
        if readout.average is None:
            tokens = writer.op("Gather", x, writer.integers(*readout.tokens), axis=1)
            read = operators.norm(tokens, self._stages.final_norm().terms, "norm", "norm")
        else:
            pooling = self._stages.average(readout.average)
            norm = pooling.norm.terms
            if isinstance(pooling, NormThenAverage):
                normed = operators.norm(x, norm, "norm_tokens", "norm_tokens")
                read = operators.averaged(normed, pooling.average, "norm")
            else:
                read = operators.norm(operators.averaged(x, pooling.average, "pool"), norm, "norm", "norm")
        found = []
        for number in range(len(readout.heads)):
            token = writer.op("Gather", read, writer.integers(number), axis=1)
            layer = self.prepared.fitted_outer(f"head.{number}")
            found.append(operators.linear(token, grid("norm", _PINNED["head"]), layer, f"head.{number}"))
        total = found[0]
        for more in found[1:]:
            total = writer.op("Add", total, more)
        if len(found) > 1:
            total = writer.op("Div", total, writer.constant(float(len(found))))
        head = grid("head", _PINNED["head"])
        codes = operators.quantized(writer.op("Squeeze", total, writer.integers(1)), head, "head")
        value = writer.op("Cast", codes, to=TensorProto.FLOAT)
        value = writer.op("Sub", value, writer.constant(float(head.zero_point)))
        writer.op("Mul", value, writer.constant(head.scale), output=LOGITS)
