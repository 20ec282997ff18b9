"""OpenVINO models as small files: what is there twice is there once, names are short, no indentation.

A reader of graphs writes every use of a constant as a constant of its own, with its shape and a name, so that
a quantized encoder takes more bytes of XML than its 4-bit weights take. Nothing here changes a number: equal
operators on equal inputs have equal results.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import write_atomically

if TYPE_CHECKING:
    from openvino import Model, Node

_ENDS = ("Parameter", "Result")
# Between tags alone: within an attribute both brackets are written otherwise.
_BETWEEN = re.compile(r">\s+<")


def compact(model: Model) -> None:
    """Merges operators that compute the same, and drops or shortens names that nothing refers to.

    Names of inputs, outputs and weights stay; other operators are numbered, so that equal models are equal
    files: OpenVINO would count on from model to model.
    """
    merge_equal(model)
    for number, op in enumerate(model.get_ordered_ops()):
        if op.get_type_name() in _ENDS:
            continue
        if not op.get_friendly_name().endswith(".weight"):
            op.set_friendly_name(str(number))
        for output in op.outputs():
            if not any(
                target.get_node().get_type_name() == "Result" for target in output.get_target_inputs()
            ):
                output.get_tensor().set_names(set())


def merge_equal(model: Model) -> int:
    """Lets every operator be there once for the same inputs and attributes; returns how many went."""
    seen: dict[Any, Node] = {}
    merged = 0
    for op in model.get_ordered_ops():
        if op.get_type_name() in _ENDS:
            continue
        known = seen.setdefault(_identity(op), op)
        if known.get_name() != op.get_name():
            for output, other in zip(op.outputs(), known.outputs(), strict=True):
                for target in list(output.get_target_inputs()):
                    target.replace_source_output(other)
            merged += 1
    return merged


def _identity(op: Node) -> tuple[Any, ...]:
    """What an operator computes: its kind, the outputs that it takes, and what is set of it."""
    kind = op.get_type_name()
    if kind == "Constant":
        shape = tuple(op.get_output_shape(0))
        return kind, str(op.get_output_element_type(0)), shape, op.data.tobytes()
    sources = [value.get_source_output() for value in op.inputs()]
    taken = tuple((source.get_node().get_name(), source.get_index()) for source in sources)
    settings = tuple(sorted((name, repr(value)) for name, value in op.get_attributes().items()))
    return kind, taken, settings, str(op.get_output_element_type(0))


def without_indentation(path: Path) -> None:
    """Rewrites an XML file without the blanks between its tags."""
    write_atomically(path, _BETWEEN.sub("><", path.read_text(encoding="utf-8")))
