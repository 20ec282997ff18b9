"""Every kind of file that is altered."""

from __future__ import annotations

import data_subjects
import model_subjects
import record_subjects
import run_subjects
from subject import Subject

SUBJECTS: tuple[Subject, ...] = (
    *run_subjects.SUBJECTS,
    *record_subjects.SUBJECTS,
    *data_subjects.SUBJECTS,
    *model_subjects.SUBJECTS,
)
