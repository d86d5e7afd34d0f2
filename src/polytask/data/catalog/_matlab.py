"""Matrices of MATLAB files."""

from pathlib import Path

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from polytask.errors import DataError, message


def read_matlab(path: Path, **shapes: tuple[int, int]) -> dict[str, np.ndarray]:
    """Matrices by name, each of an expected shape.

    Args:
        path: A `.mat` file.
        shapes: By name of the matrix.

    Raises:
        DataError: If the file cannot be read, or a matrix is missing or of another shape.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=list(shapes))
    except (MatReadError, ValueError, NotImplementedError, OSError, TypeError) as error:
        raise DataError(message(f"{path} must be a MATLAB file.", received=str(error))) from error
    for name, shape in shapes.items():
        received = content[name].shape if name in content else "none of the name"
        if received != shape:
            raise DataError(message(f"{path} must hold a matrix {name!r} of shape {shape}.", received=received))
    return {name: content[name] for name in shapes}
