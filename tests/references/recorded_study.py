"""Figures of a study as its folder has them, of round numbers."""

from __future__ import annotations

from typing import Any

METRICS = ("top1", "macro_f1", "roc_auc")


def figures(**changes: Any) -> dict[str, Any]:
    """A study of DeiT-Tiny from DeiT-Small on images that are called ISIC; any field may be another."""
    variants = [
        variant("alone", "float32", 80.0),
        variant("distilled", "float32", 83.0),
        variant("distilled", "dynamic", 82.0),
        variant("distilled", "INT8", 82.5),
        variant("distilled + EMA", "float32", 84.0),
        variant("distilled + EMA", "INT8", 83.5),
        variant("distilled + EMA, refined", "refined", 83.7) | {"kept": 1, "of": 1},
        variant("resnet18 + EMA", "float32", 79.0, "resnet18"),
        variant("resnet18 + EMA", "INT8", 78.0, "resnet18"),
        variant("teacher", "float32", 90.0, "deit_small_patch16_224") | {"file_bytes": None},
    ]
    document: dict[str, Any] = {
        "folder": "study",
        "model": "deit_tiny_patch16_224.fb_in1k",
        "teacher": "deit_small_patch16_224",
        "data": "/data/ISIC-2019",
        "source": "ISIC-2019",
        "evaluation": {"model": "deit_tiny_patch16_224", "checkpoint": "a b/model_ema.safetensors"},
        "image_size": [3, 224, 224],
        "epochs": 10,
        "train_images": 5000,
        "seeds": 1,
        "images": {"search": 1000, "test": 1200},
        "metrics": list(METRICS),
        "parameters": {"deit_tiny_patch16_224.fb_in1k": 5_530_000, "resnet18": 11_180_000},
        "variants": variants,
        "ablation": [
            step("alone", 80.0),
            step("distilled", 83.0, 3.0),
            step("+ EMA", 84.0, 1.0),
            step("+ INT8", 83.5, -0.5),
            step("+ refined, label-free", 83.7, 0.2),
        ],
        "refined": [refined()],
        "times": [times(1), times(8)],
        "notes": ["convnext_tiny is left out: too large"],
        "verified": {"runtime": "openvino", "same_class_percent": 99.5},
        "runtimes": ["openvino"],
    }
    return document | changes


def variant(name: str, arithmetic: str, top1: float, model: str = "") -> dict[str, Any]:
    split = {metric: [top1 + place, 0.5, None] for place, metric in enumerate(METRICS)}
    sizes = {"float32": 22_000_000, "dynamic": 6_000_000, "INT8": 5_500_000, "refined": 5_500_000}
    return {
        "name": name,
        "arithmetic": arithmetic,
        "model": model or "deit_tiny_patch16_224.fb_in1k",
        "baseline": bool(model),
        "file_bytes": sizes[arithmetic],
        "search": split,
        "test": split,
    }


def step(name: str, top1: float, difference: float | None = None) -> dict[str, Any]:
    split = {metric: [top1, 0.5, None] for metric in METRICS}
    found: dict[str, Any] = {"step": name, "search": split, "test": split}
    if difference is not None:
        pairs = {metric: [difference, 0.3, 0.4] for metric in METRICS}
        found["difference"] = {"search": pairs, "test": pairs}
    return found


def refined(**changes: Any) -> dict[str, Any]:
    learned = {"learning": {"passes": 5}, "images": "128 that calibrate"}
    return {"helped": True, "why": None, **learned, **changes}


def times(batch: int) -> dict[str, Any]:
    student = "deit_tiny_patch16_224.fb_in1k"
    rows = [
        timed(student, "float32", "float32", "torch", 12.0 * batch),
        timed(student, "dynamic INT8", "dynamic", "torch", 15.0 * batch),
        timed(student, "W8A8T8", "quantized", "torch", 20.0 * batch),
        timed(student, "float32", "float32", "openvino", 9.0 * batch),
        timed(student, "W8A8T8", "quantized", "openvino", 3.0 * batch),
        timed("resnet18", "float32", "float32", "torch", 16.0 * batch),
        timed("resnet18", "dynamic INT8", "dynamic", "torch", 16.0 * batch),
        timed("resnet18", "INT8", "quantized", "openvino", 4.0 * batch),
    ]
    return {
        "batch": batch,
        "machine": "Some CPU",
        "threads": 1,
        "packages": {"torch": "2.13.0"},
        "rows": rows,
    }


def timed(model: str, name: str, kind: str, runtime: str, p50: float) -> dict[str, Any]:
    return {
        "model": model,
        "variant": name,
        "kind": kind,
        "runtime": runtime,
        "baseline": model == "resnet18",
        "p50_ms": p50,
        "p90_ms": 1.1 * p50,
        "images_per_second": 1e3 / p50,
        "spread_percent": 3.0,
        "peak_rss_bytes": None if kind == "dynamic" else 500_000_000,
        "imports_rss_bytes": 400_000_000,
        "file_bytes": {"float32": 22_000_000, "dynamic": 6_000_000, "quantized": 5_500_000}[kind],
        "integer_products": 0,
        "products": 74,
        "warmup": 50,
        "iterations": 100,
        "repeats": 5,
    }
