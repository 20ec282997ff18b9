"""Quantizers of VQ-ViT that no kernel here computes, simulated in float: what each would bring.

python tests/benchmarks/bench_vq_vit.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv \\
                                        --images 64

- Activations: the inputs of all linear layers of the encoders with one scale for each tensor, from
  calibration images, or one for each token, from the token itself. Weights are floats.
- Patch embedding: its output on 8 bits with one scale, one for each channel, or those of position times
  channel.
- Compensation: what ``mu (A - s_A A_q)(B - s_B B_q)^T`` takes off the squared error of each layer's product,
  with ``mu = 1`` and with the ``mu`` of least error. It is a second product of the same size, in float, of
  operands that must be kept in float.

Divergences are from the float model, on images that did not calibrate. The ingredients that kernels do
compute are measured by bench_recipes.py: --rows "fq-vit;vq-vit;vq-vit-sigma-norms;vq-vit-sigma-weights".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from workbench import Workbench, open_workbench, recipe_parser

from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.sites import LAYER_INPUTS, role
from bitfront.evaluators.quantizers.weights import quantize_weight

Rounding = Callable[[str, torch.Tensor], torch.Tensor]
INPUTS = frozenset(LAYER_INPUTS.values())
PATCHES = "patch_embed"
BATCH = 16


def main() -> None:
    parser = recipe_parser("What quantizers of VQ-ViT would bring")
    options = parser.parse_args()
    bench = open_workbench(options)
    print(
        f"{options.model}: {len(bench.calibration)} calibration images, {len(bench.images)} evaluation images"
    )
    with torch.inference_mode():
        largest = Largest()
        run(bench, bench.calibration.normalised(bench.calibration.pixels), largest)
        print("\nactivations   bits  KL, nats  same class, %")
        for bits in (8, 4):
            qmax = 2 ** (bits - 1) - 1
            report(bench, "per tensor", bits, lambda site, x, q=qmax: even(x, largest.of[site] / q, q))
            report(bench, "per token", bits, lambda _, x, q=qmax: even(x, by_token(x) / q, q))
        print("\npatch embedding at 8 bits")
        report(bench, "one scale", 8, lambda _, x: even(x, largest.of[PATCHES] / 127, 127), patches=True)
        channels = largest.channels
        report(bench, "by channel", 8, lambda _, x: even(x, channels / 127, 127), patches=True)
        spatial = (
            largest.positions / channels
        )  # the least share of the channels' ranges that holds a position
        scales = spatial.amax(-1, keepdim=True) * channels / 127
        report(bench, "spatial x channel", 8, lambda _, x: even(x, scales, 127), patches=True)
        print(
            "\nproducts      bits of weights / inputs  error energy, %  less by compensation, %: mu = 1  best"
        )
        for bits in ((8, 8), (4, 8), (4, 4)):
            compensated(bench, largest, bits)


def even(x: torch.Tensor, scale: torch.Tensor, qmax: int) -> torch.Tensor:
    """Values on a symmetric grid."""
    return (x / scale).round().clamp(-qmax, qmax) * scale


def by_token(x: torch.Tensor) -> torch.Tensor:
    """Largest magnitude of each token, ``[..., 1]``."""
    return x.abs().amax(-1, keepdim=True).clamp_min(1e-8)


class Largest:
    """Largest magnitudes over the calibration images."""

    def __init__(self) -> None:
        self.of: dict[str, torch.Tensor] = {}
        self.positions = torch.zeros(1)

    def __call__(self, site: str, value: torch.Tensor) -> None:
        if role(site) in {role(name) for name in INPUTS} or site == PATCHES:
            found = value.abs().amax()
            self.of[site] = torch.maximum(self.of.get(site, found), found)
        if site == PATCHES:
            self.positions = torch.maximum(self.positions, value.abs().amax(0))

    @property
    def channels(self) -> torch.Tensor:
        """Of the patch embedding's channels, ``[channels]``."""
        return self.positions.amax(0).clamp_min(1e-8)


def run(bench: Workbench, images: torch.Tensor, tap: Callable[[str, torch.Tensor], None]) -> torch.Tensor:
    """Logits of images, all tensors shown to a tap, which may write on them."""
    return torch.cat([forward(bench.blueprint, part, tap) for part in torch.split(images, BATCH)])


def report(bench: Workbench, name: str, bits: int, rounded: Rounding, *, patches: bool = False) -> None:
    """Runs the evaluation images with some tensors rounded, and prints what it costs."""

    def tap(site: str, value: torch.Tensor) -> None:
        if site == PATCHES if patches else role(site) in {role(each) for each in INPUTS}:
            value.copy_(rounded(site, value))

    logits = run(bench, bench.images.normalised(bench.images.pixels), tap)
    quality = bench.quality(logits)
    print(f"{name:17} {bits}  {quality['kl']:.5f}  {quality['agreement']:.1f}", flush=True)


def compensated(bench: Workbench, largest: Largest, bits: tuple[int, int]) -> None:
    """What compensation takes off the squared errors of all layers' products, on a few images."""
    weights = {
        f"{encoder.name}.{LAYER_INPUTS[layer]}": parts.weight
        for encoder in bench.blueprint.encoders
        for layer, parts in encoder.linear().items()
    }
    shares: list[tuple[float, float, float]] = []

    def tap(site: str, value: torch.Tensor) -> None:
        if site not in weights:
            return
        weight, qmax = weights[site], 2 ** (bits[1] - 1) - 1
        found = quantize_weight(weight, bits[0], "minmax")
        restored = found.codes.float() * found.scales[:, None]
        x = even(value, largest.of[site] / qmax, qmax)
        exact = value @ weight.T
        error, second = exact - x @ restored.T, (value - x) @ (weight - restored).T
        energy = float(error.square().sum())
        best = float((error * second).sum() / second.square().sum().clamp_min(1e-30))
        left = [float((error - mu * second).square().sum()) / energy for mu in (1.0, best)]
        shares.append((energy / float(exact.square().sum()), 1.0 - left[0], 1.0 - left[1]))

    run(bench, bench.images.normalised(bench.images.pixels[:BATCH]), tap)
    means = 100.0 * torch.tensor(shares, dtype=torch.float64).mean(0)
    print(f"{bits[0]} / {bits[1]}   {means[0]:.3f}   {means[1]:.2f}   {means[2]:.2f}", flush=True)


if __name__ == "__main__":
    main()
