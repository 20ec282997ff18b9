"""The reporter of notebooks and scripts keeps the contract, and tells a function."""

import pytest
from search_contracts import ReporterContract

from bitfront.search.session.reporter import CallbackReporter, reporter_of


class TestContract(ReporterContract):
    @pytest.fixture(params=[None, lambda text, share: None], ids=["nobody", "function"])
    def reporter(self, request):
        return CallbackReporter(request.param)


def test_a_function_hears_of_steps_and_shares():
    heard = []
    reporter = reporter_of(lambda text, share: heard.append((text, share)))
    with reporter.stage("preparing") as share:
        share(0.5)
    assert heard == [("preparing", 0.0), ("preparing", 0.5), ("preparing", 1.0)]
    assert reporter_of(reporter) is reporter
