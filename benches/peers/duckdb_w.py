"""Workload W by DuckDB: `duckdb_w.py EVENTS OUT --form plain|packed [--threads N]`.

plain   The events as they are: a window for the visits, one aggregation for the deals.
packed  Instant and stage in one integer, so that the window and every minimum and maximum work on
        one number; the rest of a won deal's row is fetched by a semi join afterwards.
"""

import argparse

import duckdb

EVENTS = """
CREATE VIEW events AS
SELECT * FROM read_parquet('{events}/**/*.parquet', hive_partitioning = false);
"""

# Both forms leave `visits`, `deals` and `won` with the columns that TABLES names.
PLAIN = """
CREATE MACRO place(stage) AS
    CASE stage WHEN 'lead' THEN 1 WHEN 'qualified' THEN 2 WHEN 'proposal' THEN 3
    WHEN 'negotiation' THEN 4 WHEN 'won' THEN 5 ELSE 0 END;
CREATE MACRO name(stage) AS stage;
CREATE MACRO hours(a, b) AS (EPOCH_US(b) - EPOCH_US(a)) // 3600000000;
CREATE VIEW visits AS
SELECT stage_id AS stage, LEAD(stage_id) OVER one AS next_stage,
    hours(event_time, LEAD(event_time) OVER one) AS dwell
FROM events WINDOW one AS (PARTITION BY deal_id ORDER BY event_time);
CREATE TEMP TABLE deals AS
SELECT ANY_VALUE(customer_id) AS customer_id, ANY_VALUE(region) AS region,
    ANY_VALUE(source) AS source, ARG_MAX(owner_id, event_time) AS owner_id,
    ARG_MAX(amount, event_time) AS amount, ARG_MAX(stage_id, event_time) AS last_stage,
    MIN(event_time)::TIMESTAMP AS created_at, MAX(event_time)::TIMESTAMP AS closed_at,
    ARG_MIN(stage_id, event_time) FILTER (WHERE stage_id IN ('won', 'lost')) AS outcome,
    hours(MIN(event_time), MIN(event_time) FILTER (WHERE stage_id IN ('won', 'lost'))) AS cycle,
    MAX(place(stage_id)) AS reached
FROM events GROUP BY deal_id;
CREATE VIEW won AS SELECT * FROM deals WHERE last_stage = 'won';
"""
PACKED = """
CREATE MACRO code(stage) AS
    CASE stage WHEN 'lead' THEN 0 WHEN 'qualified' THEN 1 WHEN 'proposal' THEN 2
    WHEN 'negotiation' THEN 3 WHEN 'won' THEN 4 ELSE 5 END;
CREATE MACRO name(code) AS
    (['lead', 'qualified', 'proposal', 'negotiation', 'won', 'lost'])[code + 1];
CREATE MACRO hours(a, b) AS ((b >> 3) - (a >> 3)) // 3600000000;
CREATE VIEW moments AS SELECT *, EPOCH_US(event_time) * 8 + code(stage_id) AS moment FROM events;
CREATE VIEW visits AS
SELECT moment & 7 AS stage, next & 7 AS next_stage, hours(moment, next) AS dwell
FROM (SELECT moment, LEAD(moment) OVER (PARTITION BY deal_id ORDER BY moment) AS next FROM moments);
CREATE TEMP TABLE folded AS
SELECT deal_id, region, source, MIN(moment) AS first, MAX(moment) AS last,
    MIN(moment) FILTER (WHERE moment & 7 >= 4) AS closed,
    MAX((moment & 7) + 1) FILTER (WHERE moment & 7 < 5) AS reached
FROM moments GROUP BY deal_id, region, source;
CREATE VIEW deals AS
SELECT region, source, MAKE_TIMESTAMP(first >> 3) AS created_at, hours(first, closed) AS cycle,
    CASE WHEN closed & 7 = 4 THEN 'won' END AS outcome, COALESCE(reached, 0) AS reached FROM folded;
CREATE TEMP TABLE won AS
SELECT customer_id, region, owner_id, amount, MAKE_TIMESTAMP(moment >> 3) AS closed_at
FROM moments SEMI JOIN folded ON moments.deal_id = folded.deal_id AND moment = last
WHERE stage_id = 'won';
"""
TABLES = {
    "stage_transitions": """
        WITH moves AS (
            SELECT stage, next_stage, COUNT(*) AS moves_n, QUANTILE_CONT(dwell, [0.5, 0.9]) AS hours
            FROM visits GROUP BY ALL)
        SELECT name(stage) AS from_stage, COALESCE(name(next_stage), 'STILL') AS to_stage, moves_n,
            hours[1] / 24 AS dwell_days_p50, hours[2] / 24 AS dwell_days_p90
        FROM moves""",
    "cycle_length": """
        WITH cycles AS (
            SELECT region, source, COUNT(*) AS deals_n,
                COUNT(*) FILTER (WHERE outcome = 'won') AS won_n,
                QUANTILE_CONT(cycle, [0.5, 0.9]) FILTER (WHERE outcome = 'won') AS hours
            FROM deals GROUP BY ALL)
        SELECT region, source, deals_n, won_n, hours[1] / 24 AS won_days_p50,
            hours[2] / 24 AS won_days_p90
        FROM cycles""",
    "clv_cohorts": """
        WITH orders AS (
            SELECT customer_id, amount, closed_at::DATE AS day,
                DATE_TRUNC('month', closed_at)::DATE AS month,
                DATE_TRUNC('month', MIN(closed_at) OVER (PARTITION BY customer_id))::DATE AS cohort
            FROM won WHERE amount IS NOT NULL),
        days AS (
            SELECT customer_id, cohort, month, COUNT(*) AS orders_n, SUM(amount) AS amount,
                SUM(amount) > 0 OR (SUM(amount) = 0 AND MIN(amount) >= 0) OR month = cohort
                AS bought
            FROM orders GROUP BY customer_id, cohort, month, day)
        SELECT cohort AS period_start, DATE_DIFF('month', cohort, month) AS age,
            COUNT(DISTINCT customer_id) FILTER (WHERE bought) AS active_n,
            SUM(orders_n)::BIGINT AS orders_n, SUM(amount) AS amount
        FROM days GROUP BY ALL HAVING active_n > 0""",
    "revenue": """
        SELECT region, owner_id, DATE_TRUNC('month', closed_at)::DATE AS period_start,
            COUNT(*) AS won_n, COALESCE(SUM(amount), 0) AS net_amount,
            COUNT(*) FILTER (WHERE amount = 0) AS zero_amount_n
        FROM won GROUP BY ALL""",
    "funnel": """
        WITH counted AS (
            SELECT source, DATE_TRUNC('month', created_at)::DATE AS period_start, reached,
                COUNT(*) AS n FROM deals GROUP BY ALL)
        SELECT source, period_start, stage_order, SUM(n)::BIGINT AS population_n,
            COALESCE(SUM(n) FILTER (WHERE reached >= stage_order), 0)::BIGINT AS entered_n
        FROM counted, RANGE(1, 6) AS levels(stage_order) GROUP BY ALL""",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events")
    parser.add_argument("out")
    parser.add_argument("--form", choices=["plain", "packed"], required=True)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    if arguments.threads:
        con.execute(f"SET threads = {arguments.threads}")
    con.execute(EVENTS.format(events=arguments.events))
    con.execute(PLAIN if arguments.form == "plain" else PACKED)
    for table, query in TABLES.items():
        con.execute(f"COPY ({query}) TO '{arguments.out}/{table}.parquet'")


if __name__ == "__main__":
    main()
