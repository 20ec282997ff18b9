"""The contract of tasks."""

from __future__ import annotations

import pytest
from task_contract import TaskContract

from bitfront.evaluators.tasks.registry import TASKS, task_named
from bitfront.evaluators.tasks.task import Task


class TestTasks(TaskContract):
    @pytest.fixture(params=sorted(TASKS))
    def task(self, request: pytest.FixtureRequest) -> Task:
        return task_named(request.param)
