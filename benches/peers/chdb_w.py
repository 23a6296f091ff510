"""Workload W by chDB (ClickHouse): `chdb_w.py EVENTS OUT --form arrays|window [--threads N]`.

arrays  One aggregation gathers each deal's instants, with the stage in the last bits, into a
        sorted array; visits are unfolded from it.
window  Visits by a window over the events, deals by an aggregation of their own.
"""

import argparse

from chdb import session

EVENTS = """
CREATE VIEW w.events AS SELECT *, toUnixTimestamp64Micro(assumeNotNull(event_time)) * 8 + transform(
    assumeNotNull(stage_id), ['lead', 'qualified', 'proposal', 'negotiation', 'won', 'lost'],
    [0, 1, 2, 3, 4, 5], 5) AS moment
FROM file('{events}/**/*.parquet', Parquet)
"""
ARRAYS = [
    """CREATE TABLE w.deals ENGINE = Memory AS
    SELECT deal_id, region, source, arraySort(gathered) AS moments, moments[1] AS first,
        moments[-1] AS last, arrayFirst(x -> bitAnd(x, 7) >= 4, moments) AS closed,
        arrayMax(x -> if(bitAnd(x, 7) < 5, bitAnd(x, 7) + 1, 0), moments) AS reached
    FROM (SELECT deal_id, any(region) AS region, any(source) AS source,
        groupArray(moment) AS gathered FROM w.events GROUP BY deal_id)""",
    """CREATE VIEW w.steps AS SELECT moment, next FROM w.deals
    ARRAY JOIN moments AS moment, arrayPushBack(arrayPopFront(moments), 0) AS next""",
]
WINDOW = [
    """CREATE TABLE w.deals ENGINE = Memory AS
    SELECT deal_id, any(region) AS region, any(source) AS source, min(moment) AS first,
        max(moment) AS last, minIf(moment, bitAnd(moment, 7) >= 4) AS closed,
        maxIf(bitAnd(moment, 7) + 1, bitAnd(moment, 7) < 5) AS reached
    FROM w.events GROUP BY deal_id""",
    """CREATE VIEW w.steps AS SELECT moment, leadInFrame(moment) OVER (PARTITION BY deal_id
        ORDER BY moment ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
    FROM (SELECT deal_id, moment FROM w.events)""",
]
WON = """
CREATE TABLE w.won ENGINE = Memory AS
SELECT customer_id, region, owner_id, amount, event_time AS closed_at
FROM w.events WHERE stage_id = 'won'
    AND (deal_id, moment) IN (SELECT deal_id, last FROM w.deals WHERE bitAnd(last, 7) = 4)
"""
NAMES = "['lead', 'qualified', 'proposal', 'negotiation', 'won', 'lost', 'STILL']"
HOURS = "intDiv(intDiv({1}, 8) - intDiv({0}, 8), 3600000000)"
TABLES = {
    "stage_transitions": f"""
        WITH visits AS (
            SELECT bitAnd(moment, 7) AS stage, if(next = 0, 6, bitAnd(next, 7)) AS next_stage,
                if(next = 0, NULL, {HOURS.format("moment", "next")}) AS dwell FROM w.steps)
        SELECT {NAMES}[stage + 1] AS from_stage, {NAMES}[next_stage + 1] AS to_stage,
            toInt64(count()) AS moves_n,
            quantileExactInclusiveOrNull(0.5)(dwell) / 24 AS dwell_days_p50,
            quantileExactInclusiveOrNull(0.9)(dwell) / 24 AS dwell_days_p90
        FROM visits GROUP BY stage, next_stage""",
    "cycle_length": f"""
        WITH cycles AS (
            SELECT region, source, bitAnd(closed, 7) = 4 AS is_won,
                {HOURS.format("first", "closed")} AS cycle FROM w.deals)
        SELECT region, source, toInt64(count()) AS deals_n, toInt64(countIf(is_won)) AS won_n,
            quantileExactInclusiveOrNullIf(0.5)(cycle, is_won) / 24 AS won_days_p50,
            quantileExactInclusiveOrNullIf(0.9)(cycle, is_won) / 24 AS won_days_p90
        FROM cycles GROUP BY region, source""",
    "clv_cohorts": """
        WITH orders AS (
            SELECT customer_id, amount, toDate32(closed_at) AS day, toStartOfMonth(day) AS month
            FROM w.won WHERE amount IS NOT NULL),
        firsts AS (SELECT customer_id, min(month) AS cohort FROM orders GROUP BY customer_id),
        days AS (
            SELECT customer_id, cohort, month, count() AS day_orders_n, sum(amount) AS day_amount,
                day_amount > 0 OR (day_amount = 0 AND min(amount) >= 0) OR month = cohort AS bought
            FROM orders JOIN firsts USING customer_id GROUP BY customer_id, cohort, month, day)
        SELECT toDate32(cohort) AS period_start, toInt64(dateDiff('month', cohort, month)) AS age,
            toInt64(uniqExactIf(customer_id, bought)) AS active_n,
            toInt64(sum(day_orders_n)) AS orders_n, sum(day_amount) AS amount
        FROM days GROUP BY cohort, month HAVING active_n > 0""",
    "revenue": """
        SELECT region, owner_id, toDate32(toStartOfMonth(closed_at)) AS period_start,
            toInt64(count()) AS won_n, ifNull(sum(amount), 0) AS net_amount,
            toInt64(countIf(amount = 0)) AS zero_amount_n
        FROM w.won GROUP BY region, owner_id, period_start""",
    "funnel": """
        WITH counted AS (
            SELECT source, toStartOfMonth(fromUnixTimestamp64Micro(intDiv(first, 8), 'UTC'))
                AS month, reached, count() AS n FROM w.deals GROUP BY source, month, reached)
        SELECT source, toDate32(month) AS period_start, toInt64(stage_order) AS stage_order,
            toInt64(sum(n)) AS population_n, toInt64(sumIf(n, reached >= stage_order)) AS entered_n
        FROM counted ARRAY JOIN [1, 2, 3, 4, 5] AS stage_order
        GROUP BY source, month, stage_order""",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events")
    parser.add_argument("out")
    parser.add_argument("--form", choices=["arrays", "window"], required=True)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    run = session.Session().query
    run("SET session_timezone = 'UTC'")
    run("SET join_use_nulls = 1")
    run("SET engine_file_truncate_on_insert = 1")
    if arguments.threads:
        run(f"SET max_threads = {arguments.threads}")
    run("CREATE DATABASE w")
    run(EVENTS.format(events=arguments.events))
    for statement in ARRAYS if arguments.form == "arrays" else WINDOW:
        run(statement)
    run(WON)
    for table, query in TABLES.items():
        run(f"INSERT INTO FUNCTION file('{arguments.out}/{table}.parquet', Parquet) {query}")


if __name__ == "__main__":
    main()
