"""What massive activations cost: a model with planted ones, quantized with and without what is done for them.

python tests/benchmarks/bench_outliers.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv

Foundation models have a few tokens, often registers, whose stream is a thousand times larger in one channel
than all others, written by few hidden channels, and on which attention rests (arXiv 2402.17762, 2309.16588).
Here such a register is planted: a token of random content, hidden channels of one encoder that see it alone
and write a constant into one channel of the stream, and keys of all later encoders that draw every query to
it. The planted model is the float reference; images that were not calibrated on judge.
"""

from __future__ import annotations

import dataclasses

import torch
from subject import context_of, parser_for

from bitfront.evaluators.context.preparing import task_blueprint
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import EncoderParts, LinearParts
from bitfront.evaluators.preparation.calibrated_model import calibrate_model
from bitfront.evaluators.preparation.recipes import HIDDEN_CHANNELS, recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitConfig, parse_uniform

REGISTER, ENCODER, CHANNEL = 1, 2, 77
CONFIGS = ("W8A8T8", "W4A8T8", "W4A4T4")
# Hidden units' values at the register, their number, the stream's value that they write, and how much more
# the register's scores are than those of other keys, in nats.
PLANTED = {"none": None, "60": (60.0, 16, 600.0, 1.0), "200": (200.0, 16, 1000.0, 0.5)}


def main() -> None:
    parser = parser_for("What massive activations cost")
    parser.set_defaults(calibration_images=32, search_images=100, batch_size=16)
    options = parser.parse_args()
    context = context_of(options, "deploy")
    plain = task_blueprint(context.spec, context.model.module)
    fitting, judging = (
        [batch for batch, _ in context.images(split).batches(16)] for split in ("calibration", "search")
    )
    print(f"{options.model}, {len(context.splits.search)} images; agreement with float in %, KL in nats\n")
    print(f"| massive | recipe | {' | '.join(CONFIGS)} |\n|---|---|{'---|' * len(CONFIGS)}")
    with torch_threads(options.threads), torch.inference_mode():
        for name, settings in PLANTED.items():
            model = plain if settings is None else planted(with_register(plain), fitting[0], *settings)
            for recipe, without in (("best", ()), ("best", (HIDDEN_CHANNELS,)), ("fq-vit", ())):
                label = f"{recipe}{' without ' + without[0] if without else ''}"
                found = quantized(model, recipe, without, fitting, judging)
                print(f"| {name} | {label} | {' | '.join(found)} |", flush=True)


def with_register(model: Blueprint) -> Blueprint:
    """The model with one more prefix token of random content behind the first."""
    generator = torch.Generator().manual_seed(0)
    token = torch.randn(1, model.channels, generator=generator) * model.prefix.std()
    assert model.positions is not None, "the model adds positions"
    tokens = model.tokens + 1
    return dataclasses.replace(
        model,
        prefix=torch.cat([model.prefix[:REGISTER], token, model.prefix[REGISTER:]]),
        positions=torch.cat(
            [model.positions[:REGISTER], torch.zeros_like(token), model.positions[REGISTER:]]
        ),
        encoders=tuple(dataclasses.replace(encoder, tokens=tokens) for encoder in model.encoders),
    )


def planted(
    model: Blueprint, images: torch.Tensor, value: float, units: int, written: float, drawn: float
) -> Blueprint:
    """The model whose register becomes massive behind :data:`ENCODER`, and draws attention from then on."""
    encoders = list(model.encoders)
    encoders[ENCODER] = _writing(model, images, value, units, written)
    changed = dataclasses.replace(model, encoders=tuple(encoders))
    for index in range(ENCODER + 1, len(encoders)):
        encoders[index] = _drawn(changed, images, index, drawn)
        changed = dataclasses.replace(changed, encoders=tuple(encoders))
    return changed


def _seen(model: Blueprint, images: torch.Tensor, site: str) -> torch.Tensor:
    found: dict[str, torch.Tensor] = {}
    forward(model, images, lambda name, x: found.__setitem__(name, x.clone()) if name == site else None)
    return found[site]


def _writing(
    model: Blueprint, images: torch.Tensor, value: float, units: int, written: float
) -> EncoderParts:
    """The encoder with hidden channels that see the register alone, by the direction that tells it best."""
    encoder = model.encoders[ENCODER]
    normed = _seen(model, images, f"{encoder.name}.norm2")
    register = normed[:, REGISTER]
    rest = torch.cat([normed[:, :REGISTER], normed[:, REGISTER + 1 :]], 1).flatten(0, 1)
    spread = (rest - rest.mean(0)).T @ (rest - rest.mean(0)) / len(rest)
    apart = register.mean(0) - rest.mean(0)
    direction = torch.linalg.solve(spread + 0.05 * torch.eye(len(spread)), apart)
    low, high = float((rest @ direction).max()), float((register @ direction).min())
    steep, generator = (value + 8.0) / (high - low), torch.Generator().manual_seed(3)
    fc1, fc2 = encoder.fc1, encoder.fc2
    weight, bias, out = fc1.weight.clone(), fc1.bias.clone(), fc2.weight.clone()
    for unit in out.norm(dim=0).argsort()[:units]:
        share = 0.5 + float(torch.rand((), generator=generator))
        weight[unit], bias[unit] = steep * share * direction, -share * (8.0 + steep * low)
        out[:, unit] = 0.0
        out[CHANNEL, unit] = written / value / units
    return dataclasses.replace(encoder, fc1=LinearParts(weight, bias), fc2=LinearParts(out, fc2.bias))


def _drawn(model: Blueprint, images: torch.Tensor, index: int, drawn: float) -> EncoderParts:
    """The encoder whose keys answer to the massive channel along their head's mean query; values do not."""
    encoder = model.encoders[index]
    heads, width = encoder.heads, encoder.head_dim
    qkv = _seen(model, images, f"{encoder.name}.attn.qkv").unflatten(-1, (3, heads, width))
    queries = qkv[:, :, 0].mean((0, 1))
    along = queries / queries.norm(dim=-1, keepdim=True).square() / encoder.score_scales[:, None].float()
    # A massive channel leaves LayerNorm at the root of the number of channels.
    top = encoder.channels**0.5 * float(encoder.norm1.weight[CHANNEL])
    weight = encoder.qkv.weight.clone()
    weight[heads * width : 2 * heads * width, CHANNEL] = (along * drawn / top).flatten()
    weight[2 * heads * width :, CHANNEL] = 0.0
    return dataclasses.replace(encoder, qkv=LinearParts(weight, encoder.qkv.bias))


def quantized(
    model: Blueprint,
    name: str,
    without: tuple[str, ...],
    fitting: list[torch.Tensor],
    judging: list[torch.Tensor],
) -> list[str]:
    """Agreement with the float model and divergence from it, by configuration."""
    recipe = recipe_named(name, without)
    observer = observer_named(recipe.observer)
    with torch.inference_mode(False):
        found = calibrate_model(
            model, lambda: fitting, (4, 8), recipe, observer, "deploy", lambda share: None
        )
    ranges = "mse" if name == "best" else "minmax"
    prepared = PreparedModel(
        found.blueprint, found.calibration, "deploy", (4, 8), ranges, found.layers, found.log_steps
    )
    target = torch.cat([forward(model, batch) for batch in judging])
    layers, log_p = model.encoder_layers(), target.log_softmax(1)
    texts = []
    for bits in CONFIGS:
        config = BitConfig.uniform(model.name, "deploy", layers, parse_uniform(bits))
        logits = torch.cat([prepared.assemble(config)(batch) for batch in judging])
        divergence = (log_p.exp() * (log_p - logits.log_softmax(1))).sum(1)
        error = float(divergence.std()) / len(divergence) ** 0.5
        agreement = float((logits.argmax(1) == target.argmax(1)).float().mean())
        texts.append(f"{agreement:.1%}, {float(divergence.mean()):.4f} ± {error:.4f}")
    return texts


if __name__ == "__main__":
    main()
