# /// script
# dependencies = ["chdb"]
# ///
# mypy: ignore-errors
"""chDB: ClickHouse within the process answers a query."""

import chdb


def handler(event, context):
    """A sum, grouped."""
    columns = f"number % 3 as k, sum(number * {event['n']})"
    query = f"select {columns} from numbers(1000) group by k order by k"
    return {"statusCode": 200, "body": str(chdb.query(query, "CSV"))}
