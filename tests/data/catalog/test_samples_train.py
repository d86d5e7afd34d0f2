"""Logs in their original formats load and train as declared runs, as they come out of the catalog."""

import math

import pyarrow.parquet as pq
import pytest

from polytask.config import read_config
from polytask.data.catalog import AliCcp, AliExpress, ByteRec
from polytask.run import load, train

SAMPLES = {
    "ali_ccp": (AliCcp(), ("click", "purchase")),
    "aliexpress": (AliExpress(), ("click", "conversion")),
    "byterec": (ByteRec(), ("finish", "like")),
}
SETTINGS = ["train.epochs=1", "train.batch_size=32", "sharing.name=shared_bottom", "train.device=cpu", "data.cache=cache"]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_trains_both_tasks_for_an_epoch(name, local_data, tmp_path):
    dataset, tasks = SAMPLES[name]
    if not (local_data / dataset.folder).is_dir():
        pytest.skip(f"POLYTASK_DATA holds no {dataset.folder}")
    made = dataset.prepare(local_data / dataset.folder, tmp_path / "data")
    trained = train(read_config(made.run, SETTINGS), tmp_path / "run")
    assert trained.epoch == 1
    assert trained.step == math.ceil(made.rows["train"] / 32)
    fitted = load(tmp_path / "run", checkpoint="latest")
    rows = pq.read_table(made.files["test"])
    scores = fitted.predict(rows)
    assert scores.num_rows == made.rows["test"]
    for task in tasks:
        column = next(column for column in scores.column_names if column.startswith(task))
        values = scores[column].to_numpy()
        assert ((values > 0) & (values < 1)).all()
        assert values.std() > 0  # inputs reach the head of each task
    assert tasks[0] in fitted.evaluate(rows).metrics
