"""A trained model of the digits, calibrated at few bits."""

from __future__ import annotations

import pytest
from refinement_cases import Digits, refined_digits


@pytest.fixture(scope="session")
def digits() -> Digits:
    return refined_digits()
