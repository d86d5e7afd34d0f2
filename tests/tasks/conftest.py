"""How a task is fitted to a list of values, and its refusals read."""

import pyarrow as pa
import pytest

from polytask.errors import DataError
from polytask.tasks import LabelSummary


@pytest.fixture
def fit():
    def fitted(task, *batches):
        summary = LabelSummary(task.label)
        for batch in batches:
            summary.update(batch if isinstance(batch, pa.Array) else pa.array(batch))
        return task.fitted(summary)

    return fitted


@pytest.fixture
def refused():
    def words(call, *parts):
        with pytest.raises(DataError) as error:
            call()
        text = str(error.value)
        missing = [part for part in parts if part not in text]
        assert not missing, f"{missing} not in {text!r}"

    return words
