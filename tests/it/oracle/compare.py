"""Compares rows of Dealmill with rows of DuckDB; prints what was compared, or fails.

    compare.py tables EVENTS_GLOB TABLES_FOLDER AS_OF   window SQL over raw events, and written tables
    compare.py states RELATIONS_FOLDER STATES_JSON      the SQL of states over exported relations
"""

import datetime
import decimal
import json
import pathlib
import sys

import duckdb

HERE = pathlib.Path(__file__).parent
EPOCH = datetime.date(1970, 1, 1)


def plain(value):
    """Days as numbers of days, whole decimals and huge integers as integers."""
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, datetime.date):
        return (value - EPOCH).days
    if isinstance(value, decimal.Decimal):
        return value.normalize() + 0
    if isinstance(value, bool):
        return int(value)
    return value


def equal(a, b):
    if isinstance(a, float) or isinstance(b, float):
        if a is None or b is None:
            return a is b
        a, b = float(a), float(b)
        return abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b))
    return a == b


def key(row):
    # Floats are measures; they take no part in the order.
    keys = [v for v in row if not isinstance(v, float)]
    return [(v is not None, str(type(v).__name__ == "str"), str(v)) for v in keys]


def check(what, columns, ours, theirs):
    ours = sorted((tuple(map(plain, row)) for row in ours), key=key)
    theirs = sorted((tuple(map(plain, row)) for row in theirs), key=key)
    if len(ours) != len(theirs):
        missing = [row for row in theirs if row not in ours][:3]
        more = [row for row in ours if row not in theirs][:3]
        sys.exit(f"{what}: {len(ours)} rows, DuckDB has {len(theirs)}\n{columns}\n"
                 f"only DuckDB: {missing}\nonly ours: {more}")
    for own, other in zip(ours, theirs):
        if not all(map(equal, own, other)):
            sys.exit(f"{what}: rows differ\n{columns}\nours:   {own}\nDuckDB: {other}")
    print(f"{what}: {len(ours)} rows equal")
    return len(ours)


def tables(events, folder, as_of):
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(f"CREATE MACRO as_of() AS TIMESTAMP '{as_of}'")
    con.execute(
        "CREATE VIEW events AS SELECT * REPLACE (event_time::TIMESTAMP AS event_time) "
        f"FROM read_parquet('{events}', hive_partitioning = false)"
    )
    con.execute((HERE / "visits.sql").read_text())
    for query in sorted(HERE.glob("*.sql")):
        if query.stem == "visits":
            continue
        sql = query.read_text()
        wanted = sql.splitlines()[0].removeprefix("-- rows: ")
        theirs = con.execute(sql)
        columns = [d[0] for d in theirs.description]
        theirs = theirs.fetchall()
        written = pathlib.Path(folder) / f"{query.stem}.parquet"
        names = ", ".join(columns)
        ours = con.execute(f"SELECT {names} FROM '{written}' WHERE {wanted}").fetchall()
        if check(query.stem, columns, ours, theirs) < 5:
            sys.exit(f"{query.stem}: too few rows to say anything")


def states(folder, listed):
    con = duckdb.connect()
    for path in pathlib.Path(folder).glob("*.parquet"):
        con.execute(f"CREATE TABLE {path.stem} AS SELECT * FROM '{path}'")
    for state in json.loads(pathlib.Path(listed).read_text()):
        theirs = con.execute(state["sql"])
        columns = [d[0] for d in theirs.description]
        if columns != state["columns"]:
            sys.exit(f"{state['what']}: columns {state['columns']}, DuckDB has {columns}")
        check(state["what"], columns, state["rows"], theirs.fetchall())


if __name__ == "__main__":
    {"tables": tables, "states": states}[sys.argv[1]](*sys.argv[2:])
