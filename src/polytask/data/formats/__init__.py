"""Forms in which a table comes; each is read as a stream of record batches."""

from polytask.data.formats._base import Table
from polytask.data.formats._csv import CsvTable
from polytask.data.formats._csv_options import Csv
from polytask.data.formats._files import Files, find_files
from polytask.data.formats._ipc import IpcTable
from polytask.data.formats._memory import MemoryTable
from polytask.data.formats._parquet import ParquetTable

FORMATS: dict[str, type[Table]] = {
    "csv": CsvTable,
    "ipc": IpcTable,
    "memory": MemoryTable,
    "parquet": ParquetTable,
}

__all__ = ["FORMATS", "Csv", "CsvTable", "Files", "IpcTable", "MemoryTable", "ParquetTable", "Table", "find_files"]
