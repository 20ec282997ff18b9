"""Where the weights and images that some tests need lie: in a folder ``shared`` beside the checkout."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
