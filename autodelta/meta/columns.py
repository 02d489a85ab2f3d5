"""The columns of a table's Parquet files; whatever changes here is a new schema version."""

import pyarrow as pa

VERSION = 2
POINT = [
    ("step", pa.int64()),
    ("score", pa.float64()),
    ("log_loss", pa.float64()),
    ("train_loss", pa.float64()),
    ("device_seconds", pa.float64()),
]
RECORDS = pa.schema(
    [
        ("task", pa.string()),
        ("train_rows", pa.int64()),
        ("backbone", pa.string()),
        ("backbone_sha256", pa.string()),
        ("dtype", pa.string()),
        ("device", pa.string()),
        ("candidate", pa.string()),  # JSON
        ("parameters", pa.int64()),
        ("repeat", pa.int64()),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("curve", pa.list_(pa.struct(POINT))),
        ("test", pa.float64()),
        ("device_seconds", pa.float64()),
        ("evaluation_seconds", pa.float64()),
        ("memory_bytes", pa.int64()),
        ("versions", pa.string()),  # JSON
    ]
)
TASKS = pa.schema(
    [
        ("task", pa.string()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("train_rows", pa.int64()),
        ("version", pa.int64()),
        ("features", pa.map_(pa.string(), pa.float64())),
        ("embedding", pa.list_(pa.float64())),
    ]
)
