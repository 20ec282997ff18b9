"""What a benchmark measures: the model, its weights and its data, from the command line."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.torchvision_shim import ensure_torchvision


def parser_for(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="digits_deit")
    parser.add_argument("--checkpoint", help="weights; `random` draws some (for timing, they do as well)")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calibration-images", type=int, default=64)
    parser.add_argument("--search-images", type=int)
    parser.add_argument("--batch-size", type=int, help="images per batch; measured where not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser


@contextmanager
def spec_of(options: argparse.Namespace, scheme: str, **changes: object) -> Iterator[EvaluationSpec]:
    """The evaluation spec of a benchmark's options; random weights last as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint
        if checkpoint == "random":
            checkpoint = str(_random_checkpoint(options.model, Path(folder)))
        settings: dict[str, object] = {
            "model": options.model,
            "checkpoint": checkpoint,
            "data": options.data,
            "scheme": scheme,
            "calibration_images": options.calibration_images,
            "search_images": options.search_images,
            "batch_size": options.batch_size,
            "threads": options.threads,
            "device": options.device,
            **changes,
        }
        yield EvaluationSpec(**settings)  # type: ignore[arg-type]


def context_of(
    options: argparse.Namespace, scheme: str, *, keep_codes: bool = False, **changes: object
) -> EvaluationContext:
    """The evaluation context of a benchmark's options."""
    with spec_of(options, scheme, **changes) as spec:
        return EvaluationContext.from_spec(spec, keep_codes=keep_codes)


def _random_checkpoint(model: str, folder: Path) -> Path:
    ensure_torchvision()
    import timm

    torch.manual_seed(0)
    path = folder / "random.safetensors"
    save_file(timm.create_model(model).state_dict(), path)
    return path
