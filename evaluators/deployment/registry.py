"""The formats of exported files by name: what each holds, how it is written and read, and what runs it.

Nothing heavy is loaded before a file is written or read, so that the command line takes its choices from
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.deployment.mappings.registry import MAPPINGS
from bitfront.evaluators.deployment.runtimes.registry import BITFRONT, RUNTIMES, runtime_named
from bitfront.evaluators.deployment.tolerance import TO_THE_BIT, Tolerance
from bitfront.evaluators.files import split_entry
from bitfront.spaces import SCHEMES, BitConfig, UserError
from bitfront.spaces.schemes import DEPLOY, FQ_VIT

if TYPE_CHECKING:
    from bitfront.evaluators.preparation.recipes import Recipe
    from bitfront.evaluators.quantized.prepared import PreparedModel


# What has float64 operators that compute in float64.
GOLDEN_RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class FileContent:
    """What is written: one configuration of a prepared model.

    Attributes:
        prepared: The model, with its codes.
        config: The configuration.
        recipe: What the model was prepared with.
        document: The bit config document that the file carries.
    """

    prepared: PreparedModel
    config: BitConfig
    recipe: Recipe
    document: Mapping[str, Any]


@dataclass(frozen=True)
class ConfigFormat:
    """A document of bits, which is written without a model and computes nothing.

    Attributes:
        summary: What it is, in a line.
        suffix: The ending of its files.
        document: Makes the content of a configuration, what was measured of it and where it comes from.
    """

    summary: str
    suffix: str
    document: Callable[[BitConfig, Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class ModelFormat:
    """A file that computes, and is verified where it computes.

    Attributes:
        summary: What it is, in a line.
        suffix: The ending of its files.
        executed: What runs them, by scheme; they are verified in the first unless another is asked for.
        write: Writes a subject to a file for the fast paths of a runtime; gives the file and those that have
            to stand beside it.
        read: Reads the bit config document that a file carries; raises :class:`UserError` where it is foreign
            or damaged.
        companions: Endings of files that stand beside it.
        in_folder: Whether it is shipped in a folder with all that one needs to run it without bitfront.
        exact: Schemes whose files have the evaluator's logits to the bit, which is then what is verified.
    """

    summary: str
    suffix: str
    executed: Mapping[str, tuple[str, ...]]
    write: Callable[[FileContent, Path, str], list[Path]]
    read: Callable[[Path], dict[str, Any]]
    companions: tuple[str, ...] = ()
    in_folder: bool = False
    exact: frozenset[str] = field(default_factory=frozenset)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """What runs files of this format, whatever their scheme."""
        return tuple(dict.fromkeys(name for names in self.executed.values() for name in names))

    def check(self, scheme: str, runtime: str) -> None:
        """Refuses what cannot be written for a runtime, before work is done for it.

        Raises:
            UserError: The runtime is not installed, or executes no models of the scheme.
        """
        if runtime not in self.executed.get(scheme, ()):
            raise UserError(
                f"scheme {scheme} runs in {GOLDEN_RUNTIME} alone, which computes doubles as doubles "
                "(openvino computes them as floats): give --format onnx without --runtime, or search with "
                f"--scheme {DEPLOY}"
            )
        runtime_named(runtime)

    def tolerance(self, scheme: str, asked: Tolerance) -> Tolerance:
        """How far files of a scheme may be from the evaluator: as asked, or not at all."""
        return TO_THE_BIT if scheme in self.exact else asked


def _toolchain(
    name: str, config: BitConfig, measured: Mapping[str, Any], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    from bitfront.evaluators.deployment.mappings.assignment import model_layers
    from bitfront.evaluators.deployment.mappings.registry import mapping_named, to_document
    from bitfront.evaluators.models.architecture import architecture_in, read_architecture
    from bitfront.evaluators.models.outlines import model_outline

    checkpoint = dict(provenance.get("evaluation") or {}).get("checkpoint")
    architecture = architecture_in({"provenance": provenance})
    if architecture is None and checkpoint is not None:
        architecture = read_architecture(Path(split_entry(checkpoint)[0]))
    layers = model_layers(model_outline(config.model, architecture=architecture))
    return to_document(mapping_named(name), config, layers, measured, provenance)


def _write_packed(subject: FileContent, path: Path, runtime: str) -> list[Path]:  # noqa: ARG001 - all alike
    from bitfront.evaluators.packed.file import write_packed

    write_packed(path, subject.prepared, subject.config, subject.recipe, subject.document)
    return [path]


def _read_packed(path: Path) -> dict[str, Any]:
    from bitfront.evaluators.packed.file import read_packed

    return dict(read_packed(path).document)


def _deploy_graph(subject: FileContent, runtime: str) -> bytes:
    from bitfront.evaluators.deployment.graph.operands import dialect_of
    from bitfront.evaluators.deployment.graph.parts import GraphParts
    from bitfront.evaluators.deployment.graph_files import onnx_bytes

    parts = GraphParts.of(subject.prepared)
    return onnx_bytes(parts, subject.config, dialect_of(runtime), subject.document)


def _golden_graph(subject: FileContent, runtime: str) -> bytes:  # noqa: ARG001 - the only one
    from bitfront.evaluators.deployment.graph_files import golden_bytes

    return golden_bytes(subject.prepared, subject.config, subject.document)


_GRAPHS: dict[str, Callable[[FileContent, str], bytes]] = {DEPLOY: _deploy_graph, FQ_VIT: _golden_graph}


def _write_onnx(subject: FileContent, path: Path, runtime: str) -> list[Path]:
    from bitfront.evaluators.files import write_atomically

    write_atomically(path, _GRAPHS[subject.config.scheme](subject, runtime))
    return [path]


def _read_onnx(path: Path) -> dict[str, Any]:
    from bitfront.evaluators.deployment.graph_files import onnx_document

    return onnx_document(path)


def _write_openvino(subject: FileContent, path: Path, runtime: str) -> list[Path]:  # noqa: ARG001 - its own
    from bitfront.evaluators.deployment.graph.parts import GraphParts
    from bitfront.evaluators.deployment.graph_files import write_openvino

    return list(write_openvino(path, GraphParts.of(subject.prepared), subject.config, subject.document))


def _read_openvino(path: Path) -> dict[str, Any]:
    from bitfront.evaluators.deployment.graph_files import openvino_document

    return openvino_document(path)


FORMATS: dict[str, ConfigFormat | ModelFormat] = {
    "json": ConfigFormat(
        "the bit config: the bits of every encoder, what was measured and where it comes from",
        ".json",
        BitConfig.to_json,
    ),
    "onnx": ModelFormat(
        "a model for ONNX Runtime or OpenVINO (scheme deploy), or one that equals the evaluator to the bit "
        "(fq-vit)",
        ".onnx",
        {DEPLOY: tuple(RUNTIMES), FQ_VIT: (GOLDEN_RUNTIME,)},
        _write_onnx,
        _read_onnx,
        exact=frozenset({FQ_VIT}),
        in_folder=True,
    ),
    "openvino": ModelFormat(
        "a model in OpenVINO's own format (scheme deploy)",
        ".xml",
        {DEPLOY: ("openvino",)},
        _write_openvino,
        _read_openvino,
        (".bin",),
        in_folder=True,
    ),
    "packed": ModelFormat(
        "a safetensors file as small as its codes, which bitfront rebuilds to the bit (both schemes)",
        ".safetensors",
        dict.fromkeys(SCHEMES, (BITFRONT,)),
        _write_packed,
        _read_packed,
    ),
    **{
        name: ConfigFormat(
            "the bits by module name, as these toolchains read them",
            f".{name}.json",
            partial(_toolchain, name),
        )
        for name in MAPPINGS
    },
}
# The stem of the model in an exported folder.
MODEL = "model"
MODEL_SUFFIXES = tuple(found.suffix for found in FORMATS.values() if isinstance(found, ModelFormat))


def format_named(name: str) -> ConfigFormat | ModelFormat:
    """A format.

    Raises:
        UserError: There is none of this name.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def model_in(path: Path) -> Path:
    """The model of an exported folder; any other path as it is.

    Raises:
        UserError: It is a folder without such a model.
    """
    try:
        if not path.is_dir():
            return path
    except OSError:  # which is told of where it is read
        return path
    suffixes = [
        found.suffix for found in FORMATS.values() if isinstance(found, ModelFormat) and found.in_folder
    ]
    for suffix in suffixes:
        if (path / f"{MODEL}{suffix}").is_file():
            return path / f"{MODEL}{suffix}"
    raise UserError(
        f"no such file: {path / MODEL}{suffixes[0]}; expected a file or a folder that bitfront export wrote"
    )


def exports_of(scheme: str) -> str:
    """What models of a scheme can be exported as, and what runs that, in words."""
    models, documents = [], []
    for name, found in FORMATS.items():
        if isinstance(found, ConfigFormat):
            documents.append(name)
        elif scheme in found.executed:
            exactly = ", to the bit" if scheme in found.exact else ""
            models.append(f"{name} (for {' or '.join(found.executed[scheme])}{exactly})")
    return f"{', '.join(models)}; their bits alone as {', '.join(documents)}"


def format_of(path: Path) -> ModelFormat:
    """The format of a file that computes, by its ending.

    Raises:
        UserError: The file is missing or of another kind.
    """
    found = _by_suffix(path)
    try:
        there = path.is_file()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not there:
        raise UserError(f"no such file: {path}; expected one that bitfront export wrote")
    return found


def _by_suffix(path: Path) -> ModelFormat:
    for found in FORMATS.values():
        if isinstance(found, ModelFormat) and found.suffix == path.suffix:
            return found
    raise UserError(
        f"{path} has the ending {path.suffix or 'none'!r}: expected a file that bitfront export wrote "
        f"({', '.join(MODEL_SUFFIXES)})"
    )


def file_document(path: Path) -> dict[str, Any]:
    """The bit config document that a file carries, whatever its format.

    Raises:
        UserError: The file cannot be read, is foreign or damaged.
    """
    return format_of(path).read(path)


def files_of(path: Path) -> list[Path]:
    """A file that computes, and those beside it that belong to it."""
    beside = (path.with_suffix(ending) for ending in _by_suffix(path).companions)
    return [path, *(found for found in beside if found.exists())]


def runtime_for(path: Path, name: str | None) -> str:
    """The runtime that a file is verified in.

    Raises:
        UserError: The runtime named does not read such files.
    """
    known = _by_suffix(path).runtimes
    if name is None:
        return known[0]
    if name not in known:
        raise UserError(f"--runtime {name} does not read {path.suffix} files, which run in {known[0]}")
    return name
