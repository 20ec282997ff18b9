"""``bitfront latency-table``: times of a model's parts on this machine, as a file that searches read."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.evaluators.tasks.registry import CLASSIFICATION
from bitfront.search.cli.options.common import option, positive
from bitfront.search.cli.options.groups import (
    add_bits_option,
    add_device_option,
    add_formats_option,
    add_latency_batch_option,
    add_quantization_options,
    add_weights_options,
    measured_sources,
)
from bitfront.search.runs.names import command_line
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of
from bitfront.spaces.schemes import AUTO

# Options that say how is measured.
_OF_MEASURING = ("latency", "seconds", "device")
SUMMARY = "time a model's parts on this machine"
DETAIL = """\
Times every distinct encoder of a model at every precision on this machine, the rest of it and the float
model, compares sums of these times with whole models, and writes them as a latency table.

  bitfront latency-table --model deit_tiny_patch16_224 --scheme deploy --latency measured:openvino
  bitfront search --model deit_tiny_patch16_224 ... --scheme deploy --latency table:FILE

Times depend on shapes and precisions, not on weights or images: without --checkpoint or --pretrained the
weights are random. With --template the table is left empty, to be filled in on another machine.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_weights_options(parser.add_argument_group("model"))
    add_quantization_options(parser)
    group = parser.add_argument_group("measuring")
    add_bits_option(group, "widths to time")
    add_formats_option(group, "number formats to time")
    option(group, "--latency SOURCE", f"{measured_sources()} (default: %(default)s)", default=AUTO)
    add_latency_batch_option(group)
    add_device_option(group, "what measured:torch runs on")
    seconds = "time to spend on measuring at most; small models take less"
    option(group, "--seconds N", seconds, positive, 60)
    group = parser.add_argument_group("file")
    which = group.add_mutually_exclusive_group()
    table = "table to write (default: latency-MODEL-SCHEME-RUNTIME-bBATCH.csv)"
    option(which, "--output FILE", table, Path)
    template = "write the table without times, to be filled in elsewhere; nothing is measured"
    option(which, "--template FILE", template, Path)
    option(group, "--force", "overwrite an existing file")
    # Nothing is classified.
    unused = {"search_images": None, "test_images": None, "task": CLASSIFICATION, "metrics": ()}
    parser.set_defaults(data="", calibration_images=128, seed=0, batch_size=1, threads=1, **unused)
    unclassified = dict.fromkeys(("calibration_data", "test_data", "class_order", "class_map"))
    unclassified |= dict.fromkeys(("mean", "std", "crop_pct", "crop_mode", "interpolation"))
    parser.set_defaults(allow_chance=False, columns=(), **unclassified)


def run(args: argparse.Namespace) -> int:
    """Writes a table, measured or empty, and says what is in it."""
    from bitfront.search.cli.options.specs import evaluation_spec, written_bits
    from bitfront.search.reports.console import hint, print_json, stdout_console
    from bitfront.search.reports.latency_table import print_table
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.latency_table import latency_table, write_template

    spec, batch = evaluation_spec(args, written_bits(args), args.formats), args.latency_batch
    if args.template is not None:
        idle = [name for name in _OF_MEASURING if name in args.given]
        if idle:
            raise UserError(f"--{idle[0]} cannot be given with --template: nothing is measured")
        template = write_template(args.template, spec, latency_batch=batch, force=args.force)
        document, path = template.to_json(), template.path
    else:
        how = {"latency": args.latency, "latency_batch": batch, "seconds": args.seconds}
        found = latency_table(spec, **how, path=args.output, force=args.force, progress=stderr_reporter())
        document, path = found.to_json(), found.path
    if args.json:
        print_json(document)
        return 0
    if args.template is None:
        print_table(document, path)
    else:
        filled = "fill them in, and source and machine in words"
        text = (
            f"{path}: {count_of(template.rows, 'row')} without milliseconds, for batches of {batch}; {filled}"
        )
        stdout_console().print(text, soft_wrap=True)
    hint(_search_command(args, path))
    return 0


def _search_command(args: argparse.Namespace, path: Path) -> str:
    from bitfront.search.cli.options.specs import written_options

    return command_line("search", *written_options(args, "bits", "formats"), "--latency", f"table:{path}")
