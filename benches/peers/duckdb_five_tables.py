"""Five tables by DuckDB and by Dealmill over the same files: answers compared, then timed in turn.

Whole processes are timed, each with all cores; what they write goes to a scratch folder.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

CONFIG = """
[run]
as_of = "2025-01-01T00:00:00Z"
periods = ["month"]
resolution = "hour"
only = ["stage_transitions", "cycle_length", "clv_cohorts", "revenue", "funnel"]
[pipeline]
stages = ["lead", "qualified", "proposal", "negotiation"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["region", "source", "owner_id"]
slices = [[], ["source"], ["region", "source"], ["region", "owner_id"]]
[inputs.deal_events]
path = "{events}"
"""

# Table, rows of Dealmill's table that are compared, query. `events`, `visits` and `won` are views,
# so that every query pays for what it uses, as five separate questions would.
VIEWS = """
CREATE VIEW events AS SELECT * FROM read_parquet('{events}/**/*.parquet', hive_partitioning = false);
CREATE VIEW visits AS
SELECT deal_id, region, source, stage_id AS stage, event_time AS entered_at,
    LEAD(stage_id) OVER one AS next_stage, LEAD(event_time) OVER one AS left_at
FROM events WINDOW one AS (PARTITION BY deal_id ORDER BY event_time);
CREATE VIEW won AS
SELECT deal_id, ANY_VALUE(customer_id) AS customer_id, ANY_VALUE(region) AS region,
    ARG_MAX(owner_id, event_time) AS owner_id, MAX(event_time) AS closed_at,
    ARG_MAX(amount, event_time) AS amount
FROM events GROUP BY deal_id HAVING ARG_MAX(stage_id, event_time) = 'won';
CREATE MACRO place(stage) AS
    CASE stage WHEN 'lead' THEN 1 WHEN 'qualified' THEN 2 WHEN 'proposal' THEN 3
    WHEN 'negotiation' THEN 4 WHEN 'won' THEN 5 ELSE 0 END;
CREATE MACRO hours(a, b) AS (EPOCH_US(b) - EPOCH_US(a)) // 3600000000;
"""
TABLES = {
    "stage_transitions": (
        "slice = 'all' AND period = 'all' AND from_stage <> 'START'",
        """SELECT stage AS from_stage, COALESCE(next_stage, 'STILL') AS to_stage,
            COUNT(*) AS moves_n, QUANTILE_CONT(hours(entered_at, left_at), 0.5) / 24 AS dwell_days_p50,
            QUANTILE_CONT(hours(entered_at, left_at), 0.9) / 24 AS dwell_days_p90
        FROM visits GROUP BY ALL""",
    ),
    "cycle_length": (
        "slice = 'region+source' AND period = 'all'",
        """WITH cycles AS (
            SELECT region, source, ARG_MIN(stage_id, event_time)
                FILTER (WHERE stage_id IN ('won', 'lost')) AS outcome,
                hours(MIN(event_time), MIN(event_time) FILTER (WHERE stage_id IN ('won', 'lost')))
                AS cycle FROM events GROUP BY deal_id, region, source)
        SELECT region, source, COUNT(*) AS deals_n, COUNT(*) FILTER (WHERE outcome = 'won') AS won_n,
            QUANTILE_CONT(cycle, 0.5) FILTER (WHERE outcome = 'won') / 24 AS won_days_p50,
            QUANTILE_CONT(cycle, 0.9) FILTER (WHERE outcome = 'won') / 24 AS won_days_p90
        FROM cycles GROUP BY ALL""",
    ),
    "clv_cohorts": (
        "slice = 'all' AND period = 'month' AND is_mature AND active_n > 0",
        """WITH orders AS (
            SELECT customer_id, amount, closed_at::DATE AS day,
                DATE_TRUNC('month', closed_at)::DATE AS month,
                DATE_TRUNC('month', MIN(closed_at) OVER (PARTITION BY customer_id))::DATE AS cohort
            FROM won WHERE amount IS NOT NULL),
        days AS (SELECT customer_id, cohort, month, COUNT(*) AS orders_n, SUM(amount) AS amount,
            SUM(amount) > 0 OR (SUM(amount) = 0 AND MIN(amount) >= 0) OR month = cohort AS bought
            FROM orders GROUP BY customer_id, cohort, month, day)
        SELECT cohort AS period_start, DATE_DIFF('month', cohort, month) AS age,
            COUNT(DISTINCT customer_id) FILTER (WHERE bought) AS active_n,
            SUM(orders_n)::BIGINT AS orders_n, SUM(amount) AS amount
        FROM days GROUP BY ALL HAVING active_n > 0""",
    ),
    "revenue": (
        "slice = 'region+owner_id' AND period = 'month' AND won_n > 0",
        """SELECT region, owner_id, DATE_TRUNC('month', closed_at)::DATE AS period_start,
            COUNT(*) AS won_n, COALESCE(SUM(amount), 0) AS net_amount,
            COUNT(*) FILTER (WHERE amount = 0) AS zero_amount_n
        FROM won GROUP BY ALL""",
    ),
    "funnel": (
        "slice = 'source' AND period = 'month' AND population = 'created' AND variant = 'reached'",
        """WITH deals AS (
            SELECT source, DATE_TRUNC('month', MIN(event_time))::DATE AS period_start,
                MAX(place(stage_id)) AS reached FROM events GROUP BY deal_id, source)
        SELECT source, period_start, stage_order, COUNT(*) AS population_n,
            COUNT(*) FILTER (WHERE reached >= stage_order) AS entered_n
        FROM deals, RANGE(1, 6) AS levels(stage_order) GROUP BY ALL""",
    ),
}


def duckdb_five_tables(events, out):
    """What is timed for DuckDB: the five queries, each written to Parquet."""
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute(VIEWS.format(events=events))
    for table, (_, query) in TABLES.items():
        con.execute(f"COPY ({query}) TO '{out}/{table}.parquet'")


def compare(ours, theirs):
    import duckdb

    con = duckdb.connect()
    for table, (rows, _) in TABLES.items():
        names = [d[0] for d in con.execute(f"FROM '{theirs}/{table}.parquet'").description]
        keys = [n for n in names if not n.endswith(("_p50", "_p90"))]
        on = " AND ".join(f"a.{n} IS NOT DISTINCT FROM b.{n}" for n in keys)
        near = " AND ".join(
            f"(a.{n} IS NOT DISTINCT FROM b.{n} OR ABS(a.{n} - b.{n}) < 1e-9)"
            for n in names if n not in keys
        )
        own = f"(SELECT {', '.join(names)} FROM '{ours}/{table}.parquet' WHERE {rows})"
        other = f"'{theirs}/{table}.parquet'"
        counts = con.execute(
            f"SELECT (SELECT COUNT(*) FROM {own}), (SELECT COUNT(*) FROM {other}), "
            f"(SELECT COUNT(*) FROM {own} AS a JOIN {other} AS b ON {on} AND {near or 'TRUE'})"
        ).fetchone()
        if len(set(counts)) != 1:
            sys.exit(f"{table}: {counts[0]} rows, DuckDB {counts[1]}, equal {counts[2]}")
        print(f"{table}: {counts[0]} rows equal")


def timed(command):
    """Seconds and peak MiB of a process."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(errors.decode())
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deals", default="200000")
    parser.add_argument("--ids", choices=["int", "string"], default="int")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dealmill", default=str(ROOT / "target/release/dealmill"))
    parser.add_argument("--only-duckdb", nargs=2, metavar=("EVENTS", "OUT"))
    arguments = parser.parse_args()
    if arguments.only_duckdb:
        return duckdb_five_tables(*arguments.only_duckdb)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        made, config, theirs = scratch / "made", scratch / "dealmill.toml", scratch / "duckdb"
        theirs.mkdir()
        subprocess.run(
            [arguments.dealmill, "generate", "--deals", arguments.deals, "--ids", arguments.ids,
             "--out", str(made)], check=True, stdout=subprocess.DEVNULL,
        )
        events = made / "deal_events"
        config.write_text(CONFIG.replace("{events}", str(events)))
        commands = {
            "dealmill": [arguments.dealmill, "run", "-c", str(config), "--out", str(scratch / "out")],
            "duckdb": [sys.executable, __file__, "--only-duckdb", str(events), str(theirs)],
        }
        for command in commands.values():
            timed(command)
        compare(scratch / "out/latest", theirs)
        seconds = {name: [] for name in commands}
        for _ in range(arguments.runs):
            for name, command in commands.items():
                took, peak = timed(command)
                seconds[name].append(took)
                print(f"{name:9} {took:7.2f} s  peak {peak:6.0f} MiB")
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        print(f"median: {medians}; DuckDB takes {medians['duckdb'] / medians['dealmill']:.2f} times")


if __name__ == "__main__":
    main()
