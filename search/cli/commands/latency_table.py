"""``bitfront latency-table``: times of a model's parts on this machine, as a file that searches read."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.evaluators.latency.registry import LATENCY_LOAD
from bitfront.evaluators.tasks.registry import CLASSIFICATION
from bitfront.search.cli.options.common import option, positive
from bitfront.search.cli.options.groups import (
    add_bits_option,
    add_device_option,
    add_formats_option,
    add_latency_batch_option,
    add_latency_threads_option,
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
weights are random. With --template the table is left empty, to be filled in on another machine; with --probe
a folder is written that times itself there, with onnxruntime or openvino and without bitfront:

  bitfront latency-table --model deit_tiny_patch16_224 --probe deit-probe
  python probe.py --threads 1,2 --batch 1,8                      # there, in the folder
  bitfront latency-table --from-probe timings.json               # here again
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
    add_latency_threads_option(group)
    add_device_option(group, "what measured:torch runs on")
    seconds = "time to spend on measuring at most; small models take less"
    option(group, "--seconds N", seconds, positive, 60)
    group = parser.add_argument_group("file")
    which = group.add_mutually_exclusive_group()
    table = "table to write (default: latency-MODEL-SCHEME-RUNTIME-bBATCH.csv)"
    option(which, "--output FILE", table, Path)
    template = "write the table without times, to be filled in elsewhere; nothing is measured"
    option(which, "--template FILE", template, Path)
    probe = "write a folder of small graphs and probe.py, which times them on a machine without bitfront"
    option(which, "--probe DIR", probe, Path)
    timings = "make tables of the timings that probe.py wrote; nothing is measured"
    option(group, "--from-probe FILE", timings, Path)
    option(group, "--force", "overwrite existing files")
    # Nothing is classified.
    unused = {"search_images": None, "test_images": None, "task": CLASSIFICATION, "metrics": ()}
    parser.set_defaults(data="", calibration_images=128, seed=0, batch_size=1, threads=1, **unused)
    unclassified = dict.fromkeys(("calibration_data", "test_data", "class_order", "class_map"))
    unclassified |= dict.fromkeys(("mean", "std", "crop_pct", "crop_mode", "interpolation"))
    parser.set_defaults(allow_chance=False, columns=(), **unclassified)


def run(args: argparse.Namespace) -> int:
    """Writes a table, measured or empty, or a folder of probes, and says what is in it."""
    if args.from_probe is not None:
        return _from_probe(args)
    if args.probe is not None:
        return _probe(args)
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
        load = {"latency_batch": batch, "latency_threads": args.latency_threads or 1}
        template = write_template(args.template, spec, **load, force=args.force)
        document, path = template.to_json(), template.path
    else:
        how = {"latency": args.latency, "latency_batch": batch, "seconds": args.seconds}
        how["latency_threads"] = args.latency_threads
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


def _probe(args: argparse.Namespace) -> int:
    from bitfront.search.cli.options.specs import evaluation_spec, written_bits
    from bitfront.search.reports.console import hint, print_json, stdout_console
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.latency_probe import write_probe

    idle = [name for name in (*_OF_MEASURING, *LATENCY_LOAD) if name in args.given]
    if idle:
        raise UserError(
            f"--{idle[0].replace('_', '-')} cannot be given with --probe: probe.py is asked there"
        )
    spec = evaluation_spec(args, written_bits(args), args.formats)
    found = write_probe(args.probe, spec, force=args.force, progress=stderr_reporter())
    if args.json:
        print_json(found.to_json())
        return 0
    counts = ", ".join(f"{name} {count}" for name, count in found.probes.items())
    fitted = f", {count_of(found.fitted, 'time')} of a table follow from others" if found.fitted else ""
    text = f"{found.path}: {found.size_bytes / 1e6:.1f} MB, graphs to time: {counts}{fitted}"
    stdout_console().print(text, soft_wrap=True)
    hint("python probe.py --threads 1,2 --batch 1,8, in the folder on the other machine")
    return 0


def _from_probe(args: argparse.Namespace) -> int:
    from bitfront.search.reports.console import hint, print_json, print_lines, stdout_console
    from bitfront.search.reports.latency_table import print_probed
    from bitfront.search.session.latency_probe import tables_from_probe, warnings_of

    known = {"from_probe", "latency", *LATENCY_LOAD, "output", "force", "json", "debug"}
    if foreign := sorted(args.given - known):
        name = foreign[0].replace("_", "-")
        raise UserError(f"--{name} cannot be given with --from-probe: the timings say what was timed")
    batch = args.latency_batch if "latency_batch" in args.given else None
    found = tables_from_probe(
        args.from_probe,
        latency=args.latency if "latency" in args.given else None,
        latency_batch=batch,
        latency_threads=args.latency_threads,
        path=args.output,
        force=args.force,
    )
    documents = [table.to_json() for table in found]
    if args.json:
        print_json({"tables": documents})
        return 0
    print_probed(documents)
    print_lines(stdout_console(), warnings_of(documents))
    hint(command_line("search", "--latency", f"table:{found[0].path}"))
    return 0


def _search_command(args: argparse.Namespace, path: Path) -> str:
    from bitfront.search.cli.options.specs import written_options

    return command_line("search", *written_options(args, "bits", "formats"), "--latency", f"table:{path}")
