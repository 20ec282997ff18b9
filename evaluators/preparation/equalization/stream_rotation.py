"""The residual stream in a rotated basis.

LayerNorm without its affine part commutes with every orthogonal matrix that keeps the vector of ones: the
mean and the norm of a token stay what they are. So the affine parts go into the layers that read the stream,
the rotation into all that write it, and the model computes what it did, with no channel that sticks out
(QuaRot, Ashkboos et al., arXiv 2404.00456, does so for RMSNorm).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import EncoderParts, LinearParts, MergeParts, NormParts, Readout
from bitfront.evaluators.preparation.equalization.folding import block_diagonal, plain, reading, writing

SEED = 0


def stream_rotation(channels: int) -> torch.Tensor:
    """A random orthogonal matrix that keeps the vector of ones, float64 ``[channels, channels]``.

    It is the same in every process.
    """
    generator = torch.Generator().manual_seed(SEED)
    gaussian = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    ones = torch.ones(channels, 1, dtype=torch.float64)
    # The first column of the factor is along the ones; what a second one does to the others mixes them.
    basis = _orthogonal(torch.cat([ones, gaussian[:, 1:]], 1))
    turned = torch.randn(channels - 1, channels - 1, generator=generator, dtype=torch.float64)
    return basis @ block_diagonal([torch.ones(1, 1, dtype=torch.float64), _orthogonal(turned)]) @ basis.T


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    factor, triangle = torch.linalg.qr(matrix)
    # Signs as if the triangle's diagonal were positive, whatever the library's convention.
    result: torch.Tensor = factor * triangle.diagonal().sign()
    return result


def rotate_stream(blueprint: Blueprint) -> Blueprint:
    """The same model with its residual stream rotated.

    A stage that begins with a norm within the stream (Swin's patch embedding, CLIP's pre-norm) stays as it
    is: the affine part of that norm has no layer to go into. So does a model whose norms are behind what is
    added to the stream.
    """
    rotations = _rotations(blueprint)
    first, last = rotations[0], rotations[-1]
    positions = blueprint.positions
    return dataclasses.replace(
        blueprint,
        patch=blueprint.patch if first is None else writing(blueprint.patch, first),
        prefix=blueprint.prefix if first is None else (blueprint.prefix.double() @ first.T).float(),
        positions=positions if first is None or positions is None else (positions.double() @ first.T).float(),
        encoders=tuple(map(_encoder, blueprint.encoders, rotations)),
        merges=_merges(blueprint.merges, rotations),
        readout=blueprint.readout if last is None else _readout(blueprint.readout, last),
    )


def _rotations(blueprint: Blueprint) -> list[torch.Tensor | None]:
    """The rotation of the stream in each encoder; None where it stays as it is."""
    device = blueprint.patch.weight.device
    rotations: list[torch.Tensor | None] = []
    if any(encoder.post_norm for encoder in blueprint.encoders):
        return [None] * len(blueprint.encoders)
    begun = blueprint.embed_norm is not None or blueprint.patch_norm is not None
    found = None if begun else stream_rotation(blueprint.channels).to(device)
    for index, encoder in enumerate(blueprint.encoders):
        if index in blueprint.merges:
            found = stream_rotation(encoder.channels).to(device)
        rotations.append(found)
    return rotations


def _reader(parts: LinearParts, norm: NormParts, rotation: torch.Tensor) -> LinearParts:
    """The layer behind a LayerNorm that has lost its affine part to it."""
    return reading(parts, norm.weight.double()[:, None] * rotation.T, norm.bias.double())


def _encoder(encoder: EncoderParts, rotation: torch.Tensor | None) -> EncoderParts:
    if rotation is None:
        return encoder
    return dataclasses.replace(
        encoder,
        norm1=plain(encoder.norm1),
        qkv=_reader(encoder.qkv, encoder.norm1, rotation),
        proj=writing(encoder.proj, rotation),
        norm2=plain(encoder.norm2),
        fc1=_reader(encoder.fc1, encoder.norm2, rotation),
        fc2=writing(encoder.fc2, rotation),
    )


def _merges(merges: Mapping[int, MergeParts], rotations: list[torch.Tensor | None]) -> dict[int, MergeParts]:
    """Mergings that read one basis, four tokens side by side, and write another."""
    turned = {}
    for index, merge in merges.items():
        before, after = rotations[index - 1], rotations[index]
        norm, reduction = merge.norm, merge.reduction
        if before is not None:
            norm, reduction = plain(norm), _reader(reduction, norm, block_diagonal([before] * 4))
        if after is not None:
            reduction = writing(reduction, after)
        turned[index] = dataclasses.replace(merge, norm=norm, reduction=reduction)
    return turned


def _readout(readout: Readout, rotation: torch.Tensor) -> Readout:
    norm = plain(readout.norm)
    if readout.pool is not None:
        pool = dataclasses.replace(readout.pool, kv=_reader(readout.pool.kv, readout.norm, rotation))
        return dataclasses.replace(readout, norm=norm, pool=pool)
    heads = tuple(_reader(head, readout.norm, rotation) for head in readout.heads)
    return dataclasses.replace(readout, norm=norm, heads=heads)
