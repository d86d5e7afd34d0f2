import numpy as np
import pyarrow as pa
import pytest
import scipy.io

from polytask.data.catalog import Sarcos
from polytask.errors import DataError


@pytest.fixture(scope="module")
def sarcos(prepared):
    return prepared(Sarcos())


def test_rows_means_and_deviations_are_those_of_the_source(sarcos):
    tables, run = sarcos
    whole = pa.concat_tables(tables.values())
    assert (whole.num_rows, len(run["task"]), len(run["feature"])) == (4_449, 7, 21)
    torques = np.stack([whole[f"torque_{joint}"].to_numpy() for joint in range(1, 8)])
    assert torques.mean(1) == pytest.approx([13.692, -24.354, 11.359, 27.475, -0.794, -0.781, 4.163], abs=5e-4)
    assert torques.std(1) == pytest.approx([20.351, 14.900, 9.947, 13.759, 0.973, 1.714, 2.594], abs=5e-4)


def test_no_row_is_in_two_parts(sarcos):
    tables, _ = sarcos
    rows = [tuple(row.values()) for table in tables.values() for row in table.select(["position_1", "velocity_3"]).to_pylist()]
    assert len(set(rows)) > 4_400


@pytest.mark.parametrize("content", [{"other": np.zeros((4_449, 28))}, {"sarcos_inv_test": np.zeros((10, 28))}])
def test_another_matrix_is_named(tmp_path, content):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(DataError, match=r"'sarcos_inv_test' of shape \(4449, 28\)"):
        Sarcos().parts({"sarcos_inv_test.mat": tmp_path / "a.mat"})


def test_what_is_no_matlab_file_is_named(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"not at all" * 30)
    with pytest.raises(DataError, match="must be a MATLAB file"):
        Sarcos().parts({"sarcos_inv_test.mat": tmp_path / "a.mat"})
