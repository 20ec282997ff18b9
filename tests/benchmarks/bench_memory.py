"""Peak memory of one evaluating process: loading, calibrating, preparing all precisions, evaluating.

python tests/benchmarks/bench_memory.py [--model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv]
python tests/benchmarks/bench_memory.py --model vit_large_patch16_224 --checkpoint random --data labels.csv \
    --calibration-images 32 --search-images 64

The process is measured from its start, imports included: the largest resident set that the system saw.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import TypeVar

from subject import context_of, parser_for

from bitfront.spaces import SCHEMES, BitConfig

Result = TypeVar("Result")


def peak_bytes() -> int:
    """Largest resident set of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reported(step: str, run: Callable[[], Result]) -> Result:
    """Runs a step and prints how long it took and the peak so far."""
    started = time.perf_counter()
    result = run()
    print(f"{step:42}{time.perf_counter() - started:9.1f} s{peak_bytes() / 1e9:9.2f} GB peak", flush=True)
    return result


def main() -> None:
    parser = parser_for("Peak memory of an evaluating process")
    parser.add_argument("--scheme", choices=SCHEMES, default="fq-vit")
    options = parser.parse_args()
    print(f"{options.model}, {options.scheme}, {options.calibration_images} calibration images")
    context = reported("load, calibrate, prepare", lambda: context_of(options, options.scheme, test_images=1))
    whole = reported("evaluate the float model", context.float_quality)
    for bits in ((8, 8, 8), (8, 8, 4), (4, 4, 4)):
        config = BitConfig.uniform(options.model, options.scheme, context.encoders, bits)
        name = "W{}A{}T{}".format(*bits)
        found = reported(
            f"evaluate {name} on {whole.images} images", lambda config=config: context.quality(config)
        )  # type: ignore[misc]
        print(
            f"{'':42}{found.images / found.seconds:9.1f} images/s, float {whole.images / whole.seconds:.1f}"
        )


if __name__ == "__main__":
    main()
