"""Figures of a comparison of a model's assignments, made up: two encoders, two draws, two marks."""

from __future__ import annotations

from typing import Any

BITS = [[4, 8, 8], [8, 4, 8]]


def entry(test: float | None, search: float | None = 70.0, **further: Any) -> dict[str, Any]:
    return {"test": test, "search": search, "latency_ms": 2.5, "size_bytes": 1_500_000, **further}


def draw(test: float | None) -> dict[str, Any]:
    return {"digest": f"d{test}", **entry(test, None), "bits": BITS[::-1]}


def mark(generations: int, best: dict[str, Any] | None, share: float = 0.9) -> dict[str, Any]:
    return {
        "generations": generations,
        "evaluations": 32 * generations,
        "hypervolume_share": share,
        "best": best,
    }


def search(test: float | None = 71.0, seed: int = 0, draws: tuple[float | None, ...] = (70.5, 71.5)) -> Any:
    return {
        "seed": seed,
        "run": f"seed{seed}",
        "evaluations": 640,
        "front_points": 12,
        "trial": 4,
        "digest": "abc",
        **entry(test, 72.0),
        "bits": BITS,
        "draws": [draw(value) for value in draws],
        "generations": [mark(2, None, 0.5), mark(20, entry(test, 72.0), 1.0)],
    }


def figures(**changes: Any) -> dict[str, Any]:
    return {
        "format": "bitfront/model-comparison",
        "version": 1,
        "comparison": "compared",
        "interrupted": False,
        "model": "deit_tiny_patch16_224",
        "data": "/home/me/photographs/labels.csv",
        "scheme": "fq-vit",
        "recipe": "best",
        "without": [],
        "random_weights": False,
        "imagenet_validation": False,
        "metric": {"name": "top1", "title": "top-1"},
        "images": {"calibration": 128, "search": 400, "test": 472},
        "latency_source": "model:bops",
        "latency_batch": 1,
        "sampler": "nsga2",
        "population": 32,
        "generations": 20,
        "seeds": 1,
        "draws": 2,
        "pick": "knee",
        "constraints": [],
        "encoders": ["blocks.0", "blocks.1"],
        "float": entry(72.0),
        "eight_bit": entry(71.8),
        "searches": [search()],
        "differences": {
            "search_to_eight_bit": {"value": -0.8, "error": 0.3, "images": 472},
            "search_to_stochastic": {"value": 0.0, "error": 0.4, "images": 472},
            "stochastic_to_eight_bit": {"value": -0.8, "error": 0.2, "images": 472},
            "eight_bit_to_float": {"value": -0.2, "error": 0.1, "images": 472},
        },
        "notes": [],
        **changes,
    }
