-- rows: slice = 'all' AND period = 'month' AND from_stage <> 'START'
WITH moves AS (
    SELECT
        *,
        DATE_TRUNC('month', entered_at)::DATE AS period_start,
        (EPOCH_US(left_at) - EPOCH_US(entered_at)) // 3600000000 AS hours,
        ROW_NUMBER() OVER (PARTITION BY deal_id, stage, next_stage ORDER BY entered_at) AS pair_no,
        ROW_NUMBER() OVER (PARTITION BY deal_id, stage ORDER BY entered_at) AS visit_no,
        LAST_VALUE(entry_amount) OVER (
            PARTITION BY deal_id ORDER BY entered_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS last_amount
    FROM visits
)
SELECT
    period_start,
    stage AS from_stage,
    COALESCE(next_stage, 'STILL') AS to_stage,
    CASE
        WHEN next_stage IS NULL THEN 'still'
        WHEN next_stage IN ('won', 'lost') THEN next_stage
        WHEN stage IN ('won', 'lost') THEN 'reopened'
        WHEN place(next_stage) < place(stage) THEN 'regressed'
        WHEN place(next_stage) = place(stage) + 1 THEN 'advanced'
        ELSE 'skipped'
    END AS move,
    COUNT(*) AS moves_n,
    COUNT(*) FILTER (WHERE pair_no = 1) AS deals_n,
    COUNT(*) FILTER (WHERE visit_no = 1 AND next_stage IS NOT NULL) AS first_moves_n,
    COUNT(hours) AS dwell_n,
    AVG(hours) / 24 AS dwell_days_mean,
    QUANTILE_CONT(hours, 0.5) / 24 AS dwell_days_p50,
    QUANTILE_CONT(hours, 0.9) / 24 AS dwell_days_p90,
    COALESCE(SUM(CASE WHEN next_stage IS NULL THEN last_amount ELSE move_amount END), 0)
        AS moved_amount
FROM moves
GROUP BY ALL
