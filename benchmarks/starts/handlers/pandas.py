# /// script
# dependencies = ["pandas"]
# ///
# mypy: ignore-errors
"""pandas: CSV is read, joined and grouped."""

import io

import pandas as pd

ROWS = "key,value\n" + "".join(f"{n % 7},{n * 31 % 101}\n" for n in range(2000))


def handler(event, context):
    """Sums by key."""
    table = pd.read_csv(io.StringIO(ROWS))
    names = pd.DataFrame({"key": range(7), "name": list("abcdefg")})
    sums = table.merge(names, on="key").groupby("name")["value"].sum() * event["n"]
    return {"statusCode": 200, "body": sums.to_json()}
