"""``bitfront evaluate``: what one configuration is worth."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.evaluators.latency.registry import LATENCY_LOAD
from bitfront.search.cli.options.common import option
from bitfront.search.cli.options.groups import (
    add_latency_option,
    add_machine_options,
    add_model_options,
    add_quantization_options,
    add_seed_option,
)
from bitfront.search.runs.names import command_line, run_command

SUMMARY = "measure one configuration"
DETAIL = """\
Measures one configuration on the test split: accuracy, latency and size, against the float model.

  bitfront evaluate --uniform W8A8T4
  bitfront evaluate --config runs/NAME/exports/knee-0123456789ab.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    which = parser.add_mutually_exclusive_group()
    option(which, "--config FILE", "bit config written by `bitfront export`")
    widths = "the same widths in every encoder: weights, activations, attention (default: W8A8T8)"
    option(which, "--uniform WxAxTx", widths)
    add_model_options(parser)
    add_quantization_options(parser)
    refined = "what `bitfront refine` learned for the configuration, where it has moved"
    option(parser, "--refinement FILE", refined)
    group = parser.add_argument_group("measuring")
    add_latency_option(group)
    add_machine_options(group)
    add_seed_option(group)


def run(args: argparse.Namespace) -> int:
    """Evaluates a configuration and prints the figures."""
    from bitfront.search.cli.options.specs import (
        evaluation_spec,
        spec_changes,
        written_batch,
        written_options,
    )
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.evaluation import print_report
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.runs.files import SPEC
    from bitfront.search.session.evaluate import UNIFORM, evaluate
    from bitfront.search.session.specs import config_spec, read_config_document
    from bitfront.spaces import BitConfig

    spec = evaluation_spec(args, ()).moved(refinement=args.refinement)
    config: BitConfig | str = args.uniform or UNIFORM
    if args.config is not None:
        document, changes = read_config_document(Path(args.config)), spec_changes(args)
        if spec.refinement is not None:
            changes["refinement"] = spec.refinement
        spec, config = config_spec(document, spec, changes), BitConfig.from_json(document)
    found = evaluate(
        spec,
        config,
        latency=args.latency,
        latency_batch=written_batch(args),
        latency_threads=args.latency_threads,
        progress=stderr_reporter(),
    )
    if args.json:
        print_json(found.to_json())
        return 0
    print_report(found.to_json(), measured=spec.batch_size is None and spec.threads is None)
    if args.config is None:
        hint(command_line("search", *written_options(args, "latency", *LATENCY_LOAD)))
    elif (run_folder := Path(args.config).absolute().parent.parent).joinpath(SPEC).is_file():
        hint(run_command(run_folder, "front", run_folder.name))
    return 0
