"""How fast accuracy is evaluated: integer models against eager float32 and against float fake quantization.

python tests/benchmarks/bench_evaluator.py [--model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv]

All contestants see the same batch with the same threads and run in turn; the figures are ratios of images
per second (higher is better) from the medians. The last column shows that the simulation simulates the same
model: at 8 bits the classes agree, while 4-bit activations amplify every rounding that differs.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

import torch

from bitfront.evaluators.context import EvaluationContext
from bitfront.evaluators.fq_vit import PreparedFqVit
from bitfront.evaluators.latency.timing import TimingProtocol, time_interleaved
from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts, LinearParts, forward
from bitfront.evaluators.quantizers import quantize_weight
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.spaces import BitConfig, QuantSite, parse_uniform

UNIFORM = ("W8A8T8", "W8A8T4", "W4A4T4")
FLOAT = "timm eager float32"
FakeQuantizer = Callable[[torch.Tensor], torch.Tensor]


class FakeQuantizedVit:
    """The blueprint's float forward with every tensor rounded to its grid and kept in float32.

    Weights are rounded once, activations by torch's fused fake quantization, each result put in the tapped
    tensor's place without a copy: as quick as float simulation gets in eager torch.
    """

    def __init__(self, context: EvaluationContext, config: BitConfig) -> None:
        prepared = context.prepared
        ranges = context.spec.weight_ranges
        self._quantizers = {
            site.name: _fake_quantizer(site, config, prepared)
            for site in context.sites
            if site.kind != "weights" and site.name != "pos_embed"
        }
        self._blueprint = _rounded(prepared, config, ranges)

    def _tap(self, site: str, value: torch.Tensor) -> None:
        if site in self._quantizers:
            value.set_(self._quantizers[site](value))  # type: ignore[call-overload]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]``."""
        return forward(self._blueprint, images.clone(), self._tap)


def _fake_quantizer(site: QuantSite, config: BitConfig, prepared: PreparedFqVit) -> FakeQuantizer:
    calibration = prepared.calibration
    if site.name in calibration.power_of_two:
        stream = calibration.power_of_two[site.name]
        scales = torch.from_numpy(stream.channel_scales).float()
        zeros = torch.full((len(scales),), stream.zero_point, dtype=torch.int32)
        return lambda x: torch.fake_quantize_per_channel_affine(x, scales, zeros, x.ndim - 1, 0, stream.qmax)
    if site.pinned or site.encoder is None:
        bits = dict(config.pinned)[site.layer]
    else:
        bits = config.encoders[site.encoder].bits(site.kind, site.layer)
    if site.kind == "attention" and bits <= 4:
        return lambda p: _logarithmic(p, bits)
    grid = calibration.affine[site.name, bits]
    return lambda x: torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero_point, 0, grid.qmax)


def _logarithmic(probabilities: torch.Tensor, bits: int) -> torch.Tensor:
    """Probabilities rounded to powers of two, zero beyond the codes of ``bits`` bits."""
    codes = probabilities.log2().neg_().round_()
    return torch.where(codes < 2**bits, codes.neg().exp2_(), 0.0)


def _rounded(prepared: PreparedFqVit, config: BitConfig, ranges: str) -> Blueprint:
    blueprint = prepared.blueprint

    def rounded(parts: LinearParts, bits: int) -> LinearParts:
        found = quantize_weight(parts.weight, bits, ranges)
        return LinearParts(found.codes * found.scales[:, None], parts.bias)

    def encoder(index: int, parts: EncoderParts) -> EncoderParts:
        layers = {
            layer.rpartition(".")[2]: rounded(linear, config.encoders[index].bits("weights", layer))
            for layer, linear in parts.linear().items()
        }
        return dataclasses.replace(parts, **layers)

    positions = prepared.calibration.affine["pos_embed", 8]
    readout = blueprint.readout
    return dataclasses.replace(
        blueprint,
        patch=rounded(blueprint.patch, 8),
        positions=positions.dequantize(positions.quantize(blueprint.positions)),
        encoders=tuple(encoder(index, parts) for index, parts in enumerate(blueprint.encoders)),
        readout=dataclasses.replace(readout, heads=tuple(rounded(head, 8) for head in readout.heads)),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="digits_deit")
    parser.add_argument("--checkpoint")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="time for all contestants together")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    spec = EvaluationSpec(
        model=options.model,
        checkpoint=options.checkpoint,
        data=options.data,
        batch_size=options.batch_size,
        threads=options.threads,
        calibration_images=64,
        search_images=max(options.batch_size, 100),
        test_images=1,
        weight_rounding="nearest",
    )
    context = EvaluationContext.from_spec(spec)
    images, _ = next(context.images("search").batches(options.batch_size))
    module = context.model.module
    contestants: dict[str, Callable[[], torch.Tensor]] = {FLOAT: lambda: module(images)}
    for uniform in UNIFORM:
        config = BitConfig.uniform(spec.model, spec.scheme, context.encoders, parse_uniform(uniform))
        for kind, model in (
            ("fq-vit", context.prepared.assemble(config)),
            ("fake", FakeQuantizedVit(context, config)),
        ):
            contestants[f"{kind} {uniform}"] = lambda model=model: model(images)  # type: ignore[misc]
    with torch.inference_mode():
        answers = {name: run().argmax(-1) for name, run in contestants.items()}
        times = time_interleaved(contestants, TimingProtocol(budget_seconds=options.seconds))
    per_second = {name: 1e3 * len(images) / entry.milliseconds for name, entry in times.items()}
    print(f"{spec.model}, batches of {len(images)}, {options.threads} thread(s), images per second")
    print(f"{'':22}{'images/s':>10}{'/ float':>9}{'/ fake':>9}{'spread':>9}{'agrees with fake':>18}")
    for name, value in per_second.items():
        row = f"{name:22}{value:10.1f}{value / per_second[FLOAT]:9.2f}"
        fake = f"fake {name.removeprefix('fq-vit ')}"
        if name.startswith("fq-vit"):
            agreement = 100.0 * float((answers[name] == answers[fake]).double().mean())
            row += f"{value / per_second[fake]:9.2f}{times[name].spread_percent:8.1f}%{agreement:17.1f}%"
        else:
            row += f"{'':9}{times[name].spread_percent:8.1f}%"
        print(row)


if __name__ == "__main__":
    main()
