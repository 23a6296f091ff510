"""Recomputes a few of the demo's numbers from its raw events with DuckDB.

Usage: check_demo.py FOLDER, where FOLDER holds `history` and `tables`.
It shares no code with Dealmill: a number that both find is probably right.
"""

import json
import pathlib
import sys

import duckdb

STAGES = ["lead", "qualified", "proposal", "negotiation", "won", "lost"]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    history, tables = folder / "history", folder / "tables"
    pointer = json.loads((tables / "latest.json").read_text())
    latest = tables / "latest"
    run = latest if latest.exists() else tables / "runs" / pointer["run_id"]
    manifest = json.loads((run / "manifest.json").read_text())

    names = [
        "revenue", "conversion", "funnel", "stage_transitions", "stage_time", "cycle_length",
        "cycle_curve", "cycle_histogram", "clv_cohorts", "clv_models", "clv_holdout",
        "customer_value", "customer_growth", "cac", "cycle_comparisons", "rep_scorecard",
        "rep_skills", "data_quality",
    ]
    for name in names:
        assert (run / f"{name}.parquet").exists(), f"{name}.parquet is missing"
    assert {table["name"] for table in manifest["tables"]} >= set(names)

    db = duckdb.connect()
    order = ", ".join(f"'{stage}'" for stage in STAGES)
    db.execute(
        f"""
        CREATE VIEW events AS
        SELECT *, list_position([{order}], stage_id) AS stage_order
        FROM read_parquet('{history}/deal_events/**/*.parquet', hive_partitioning = false)
        WHERE event_time <= TIMESTAMPTZ '2025-01-01 00:00:00+00'
        """
    )
    db.execute(
        """
        CREATE VIEW deals AS
        SELECT deal_id,
               arg_max(stage_id, (event_time, stage_order)) FILTER (stage_id IS NOT NULL) AS stage,
               arg_max(amount, (event_time, stage_order)) FILTER (amount IS NOT NULL) AS amount
        FROM events GROUP BY deal_id
        """
    )
    expected = db.sql(
        """
        SELECT COUNT(*), COUNT(*) FILTER (stage = 'won'), COUNT(*) FILTER (stage = 'lost'),
               SUM(amount) FILTER (stage = 'won')
        FROM deals
        """
    ).fetchall()[0]
    deals, won, lost, net = expected

    def total(table: str, columns: str, condition: str = "true"):
        query = f"""
            SELECT {columns} FROM read_parquet('{run}/{table}.parquet')
            WHERE slice = 'all' AND period = 'all' AND {condition}
        """
        rows = db.sql(query).fetchall()
        assert len(rows) == 1, f"{table}: expected one row, found {len(rows)}"
        return rows[0]

    found = total("conversion", "deals_n, won_n, lost_n", "basis = 'created'")
    assert found == (deals, won, lost), f"conversion: {found}, expected {(deals, won, lost)}"
    found = total("revenue", "won_n, net_amount")
    assert found == (won, net), f"revenue: {found}, expected {(won, net)}"
    entered = total("funnel", "entered_n", "variant = 'touched' AND population = 'created' AND stage = 'lead'")[0]
    touched = db.sql("SELECT COUNT(DISTINCT deal_id) FROM events WHERE stage_id = 'lead'")
    assert entered == touched.fetchall()[0][0], f"funnel: {entered} deals entered lead"
    print(f"demo: {deals} deals, {won} won, {lost} lost, net {net}: the same by DuckDB")


main()
