"""Reads every table of a warehouse with PyIceberg and prints, as JSON, what it found.

    python pyiceberg_check.py WAREHOUSE
"""

import collections
import json
import pathlib
import sqlite3
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

COORDINATES = ["_src_topic", "_src_partition", "_src_offset"]


def read(table):
    rows = table.scan().to_arrow()
    found = {
        "reasons": dict(collections.Counter(rows["reason"].to_pylist())),
        "tokens": [f.name for f in rows.schema if f.type == pa.uuid()],
        "repeated": repeated(rows),
        "mixed_files": mixed_files(table),
    }
    if "table_name" in rows.column_names:
        rejects = collections.defaultdict(collections.Counter)
        for name, reason in zip(rows["table_name"].to_pylist(), rows["reason"].to_pylist()):
            rejects[name or ""][reason] += 1
        found["rejects"] = rejects
    return found


def repeated(rows):
    """How many source coordinates have more than one row."""
    groups = rows.select(COORDINATES).group_by(COORDINATES).aggregate([([], "count_all")])
    return pc.sum(pc.greater(groups["count_all"], 1)).as_py() or 0


def mixed_files(table):
    """How many files have rows of another day than the one they are filed under."""
    partitions = table.spec().fields
    if not partitions:
        return 0
    column = table.schema().find_field(partitions[0].source_id).name
    mixed = 0
    for task in table.scan().plan_files():
        path = task.file.file_path.removeprefix("file://")
        times = pq.read_table(path, columns=[column])[column]
        days = pc.unique(pc.floor_temporal(times, unit="day").cast(pa.date32()))
        filed = pa.scalar(task.file.partition[0], pa.int32()).cast(pa.date32())
        mixed += days.to_pylist() != [filed.as_py()]
    return mixed


def main():
    warehouse = pathlib.Path(sys.argv[1]).resolve()
    database = warehouse / "catalog.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        names = db.execute("SELECT catalog_name, table_namespace, table_name FROM iceberg_tables").fetchall()
    found = {}
    for catalog, namespace, name in names:
        table = SqlCatalog(catalog, uri=f"sqlite:///{database}", init_catalog_tables="false").load_table((namespace, name))
        found[name] = read(table)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
