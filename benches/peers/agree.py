"""Whether two folders hold the same five tables: `agree.py OURS THEIRS`.

Whatever is no quantile must be equal, quantiles within 1e-9 of a day; every row must be found in
both. Of Dealmill's tables the rows and columns that the peers compute are compared.
"""

import sys

import duckdb

# Rows of Dealmill's table that are compared, and the columns that are not exact.
ROWS = {
    "stage_transitions": "from_stage <> 'START'",
    "cycle_length": "TRUE",
    "clv_cohorts": "period = 'month' AND is_mature AND active_n > 0",
    "revenue": "period = 'month' AND won_n > 0",
    "funnel": "period = 'month' AND population = 'created' AND variant = 'reached'",
}
NEAR = ("_p50", "_p90")


def main():
    ours, theirs = sys.argv[1:]
    con = duckdb.connect()
    for table, rows in ROWS.items():
        own, other = f"'{ours}/{table}.parquet'", f"'{theirs}/{table}.parquet'"
        names = [column[0] for column in con.execute(f"FROM {other} LIMIT 0").description]
        same = [f"a.{n} IS NOT DISTINCT FROM b.{n}" for n in names if not n.endswith(NEAR)]
        near = [
            f"(ABS(a.{n} - b.{n}) <= 1e-9 OR (a.{n} IS NULL AND b.{n} IS NULL))"
            for n in names if n.endswith(NEAR)
        ]
        own_n, other_n, equal_n = con.execute(
            f"SELECT (SELECT COUNT(*) FROM {own} WHERE {rows}), (SELECT COUNT(*) FROM {other}), "
            f"(SELECT COUNT(*) FROM (FROM {own} WHERE {rows}) AS a JOIN {other} AS b "
            f"ON {' AND '.join(same + near)})"
        ).fetchone()
        if not own_n == other_n == equal_n:
            sys.exit(f"{table}: {own_n} rows, peer {other_n}, equal {equal_n}")


if __name__ == "__main__":
    main()
