"""What is sent to a worker: in pieces, to a place of the worker's own choosing, and whole or not at all."""

import asyncio
import hashlib
from types import SimpleNamespace

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.workers import bundle_transfer
from bitfront.search.workers.bundle_transfer import accept_bundle, receive_piece, received_bundle, send_bundle
from bitfront.search.workers.worker_environment import paths_of, with_absolute_paths
from bitfront.spaces import BitfrontError


@pytest.fixture
def worker(tmp_path):
    return SimpleNamespace(local_directory=str(tmp_path), address="tcp://127.0.0.1:1")


def test_a_bundle_arrives_whole_in_the_workers_folder(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_transfer, "PIECE_BYTES", 100)
    content, pieces = bytes(range(256)) * 3, []

    async def run(function, *arguments):
        pieces.append(arguments)
        function(*arguments, dask_worker=worker)

    asyncio.run(send_bundle(run, "a spec", content))
    assert len(pieces) == 9
    found = received_bundle("a spec")
    assert found.read_bytes() == content
    assert found.parent == tmp_path / "bitfront-bundles"
    assert received_bundle("another spec") is None


def test_what_arrives_damaged_is_refused(worker):
    digest = hashlib.sha256(b"expected").hexdigest()
    receive_piece(digest, 5, 0, b"other", dask_worker=worker)
    with pytest.raises(BitfrontError, match="arrived damaged"):
        accept_bundle("damaged", digest, dask_worker=worker)
    assert received_bundle("damaged") is None


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "/" + "0" * 63])
def test_a_sender_does_not_choose_the_path(worker, tmp_path, digest):
    with pytest.raises(ValueError, match="is not a SHA-256"):
        receive_piece(digest, 1, 0, b"x", dask_worker=worker)
    assert list(tmp_path.iterdir()) == []


def test_workers_get_paths_that_do_not_depend_on_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = with_absolute_paths(
        EvaluationSpec(model="digits_deit", scheme="fq-vit", data="photos/labels.csv", checkpoint="deit.pth")
    )
    assert paths_of(sent) == (f"{tmp_path}/deit.pth", f"{tmp_path}/photos/labels.csv")
    assert (
        with_absolute_paths(EvaluationSpec(model="digits_deit", scheme="fq-vit", data="cifar10:here")).data
        == f"cifar10:{tmp_path}/here"
    )
    assert (
        paths_of(with_absolute_paths(EvaluationSpec(model="digits_deit", scheme="fq-vit", data="cifar10")))
        == ()
    )
    assert with_absolute_paths(EvaluationSpec(model="digits_deit", scheme="fq-vit")) == EvaluationSpec(
        model="digits_deit", scheme="fq-vit"
    )
