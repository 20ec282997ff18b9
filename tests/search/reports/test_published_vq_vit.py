"""The figures of VQ-ViT as they were published."""

from __future__ import annotations

from bitfront.search.reports.published_vq_vit import published_vq_vit


def test_the_published_rows_are_told_with_what_differs() -> None:
    published = published_vq_vit()
    assert [(row["top1"], row["file"], row["time"], row["memory"]) for row in published.rows] == [
        (98.2, 327, 15.3, 1250),
        (98.1, 164, 8.7, 680),
        (97.8, 82, 5.2, 350),
    ]
    figures, differs = published.lines("deit_tiny_patch16_224", "cifar10", "a processor")
    assert "FP16: 98.1 %, 164 MB, 8.7 ms, 680 MB" in figures
    assert "here deit_tiny_patch16_224 on cifar10, one thread of a processor" in differs
