"""Hardware profiles: those that are shipped, and files that people write."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from bitfront.evaluators.latency.hardware_profile import HardwareProfile, profile_named
from bitfront.evaluators.latency.registry import shipped_profiles
from bitfront.spaces import UserError

WORDS = 'description = "a board"\nsource = "its data sheet"\n'
RATES = '[macs_per_second]\nfloat = 1e9\n"8x8" = 4e9\n'


def profile(folder: Path, text: str) -> HardwareProfile:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return profile_named(str(path))


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_say_what_they_are(name: str) -> None:
    found = profile_named(name)
    assert found.name == name
    assert len(found.description) > 20
    assert len(found.source) > 20
    assert found.whole_rate < found.rate(8, 8)
    assert found.rate(8, 8) < found.rate(4, 4)
    first = found.notes((4, 8))[0]
    assert "modelled, not measured" in first
    assert name in ("bops", "horowitz45") or "peak" in found.description


def test_bit_operations_are_labelled_as_such() -> None:
    assert "bit operations" in profile_named("bops").description
    assert "not the times of any machine" in profile_named("bops").description


def test_bit_fusion_follows_the_product_of_widths() -> None:
    found = profile_named("bitfusion")
    for first, second in ((8, 8), (4, 8), (8, 4), (4, 4), (2, 8), (2, 2)):
        assert found.rate(first, second) == found.rate(8, 8) * 64 / (first * second)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = profile(
        tmp_path,
        WORDS + RATES + '"8x4" = 5e9\n[memory]\nbytes_per_second = 2e9\nfloat_bytes = 2\n'
        "[overhead]\nseconds_per_encoder = 1e-5\nseconds_per_operator = 2e-6\n",
    )
    assert found == HardwareProfile(
        "mine.toml", "a board", "its data sheet",
        {(8, 8): Fraction(4 * 10**9), (4, 8): Fraction(5 * 10**9)}, Fraction(10**9), None, 16,
        Fraction(2 * 10**9), Fraction(1e-5), Fraction(2e-6),
    )  # fmt: skip
    assert found.notes((8,))[0].startswith("latencies by model:mine.toml are modelled")


def test_memory_and_overhead_may_be_left_out(tmp_path: Path) -> None:
    found = profile(tmp_path, WORDS + RATES)
    assert (found.bytes_per_second, found.float_bits) == (None, 32)
    assert found.encoder_seconds == found.operator_seconds == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("description = \n", r"cannot be read .*line 1"),
        (RATES, "description is missing: say in words what machine this is"),
        ('description = "x"\nsource = " "\n' + RATES, "source is missing: .*where its figures come from"),
        (WORDS, "either .macs_per_second. or bit_operations_per_second"),
        ("bit_operations_per_second = 1e9\n" + WORDS + RATES, "either .macs_per_second. or bit"),
        ("bit_operations_per_second = -1\n" + WORDS, "bit_operations_per_second is -1: give a number above"),
        (WORDS + "macs_per_second = 3\n", "macs_per_second is 3: write it as a section"),
        (WORDS + '[macs_per_second]\n"8x8" = 1e9\n', "needs float and at least one pair"),
        (WORDS + "[macs_per_second]\nfloat = 1e9\n", "needs float and at least one pair"),
        (WORDS + RATES + '"4x4" = 0\n', "macs_per_second.4x4 is 0: give a number above 0"),
        (WORDS + RATES + '"4x4" = nan\n', "macs_per_second.4x4 is nan"),
        (WORDS + RATES + '"4x4" = inf\n', "macs_per_second.4x4 is inf"),
        (WORDS + RATES + '"4x4" = true\n', "macs_per_second.4x4 is True"),
        (WORDS + RATES + '"4x4" = "fast"\n', "macs_per_second.4x4 is 'fast'"),
        (WORDS + RATES + "int8 = 1e9\n", "macs_per_second.int8 is unknown: expected float, or two widths"),
        (WORDS + RATES + '"0x8" = 1e9\n', "macs_per_second.0x8 is unknown"),
        (WORDS + RATES + '"8x64" = 1e9\n', "macs_per_second.8x64 is unknown"),
        (WORDS + RATES + '"4x8" = 1\n"8x4" = 2\n', "has 4x8 twice: either order means the same"),
        (
            WORDS + RATES + "[memory]\nbandwidth = 1\n",
            "memory.bandwidth is unknown: expected bytes_per_second",
        ),
        (WORDS + RATES + "[memory]\nfloat_bytes = 1.5\n", "memory.float_bytes is 1.5"),
        (WORDS + RATES + "[overhead]\nseconds_per_encoder = -1\n", "overhead.seconds_per_encoder is -1"),
        ("speed = 3\n" + WORDS + RATES, "speed is unknown: expected description, source"),
        ("memory = 3\n" + WORDS + RATES, r"memory is 3: write it as a section \[memory\]"),
    ],
)
def test_faults_are_named_on_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        profile(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mine.toml") in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.toml", "binary.toml"):
        with pytest.raises(UserError, match=rf"{name} cannot be read .*: give a TOML file"):
            profile_named(str(tmp_path / name))


def test_unknown_names_are_answered_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"'model:h100': choose one of a100, bitfusion, bops, horowitz45, t4, or give a file"
    ):
        profile_named("h100")
    with pytest.raises(UserError, match="unknown latency profile"):
        profile_named("../profiles/bops")
