-- rows: slice = 'region' AND period = 'month'
WITH months AS (
    SELECT
        first::DATE AS period_start,
        first + INTERVAL 1 MONTH AS next_start,
        LEAST(first + INTERVAL 1 MONTH - INTERVAL 1 DAY, as_of())::DATE AS last_day
    FROM UNNEST(GENERATE_SERIES(
        (SELECT DATE_TRUNC('month', MIN(entered_at)) FROM visits)::TIMESTAMP,
        DATE_TRUNC('month', as_of())::TIMESTAMP,
        INTERVAL 1 MONTH
    )) AS series(first)
),
there AS (
    SELECT m.*, v.deal_id, v.region, v.stage, v.entered_at, d.created_at
    FROM months AS m
    JOIN visits AS v
        ON v.entered_at < m.next_start AND (v.left_at IS NULL OR v.left_at >= m.next_start)
    JOIN deals AS d USING (deal_id)
    WHERE place(v.stage) > 0
),
valued AS (
    SELECT there.*, told.known_amount AS amount
    FROM there ASOF LEFT JOIN told
        ON there.deal_id = told.deal_id AND there.next_start > told.event_time
)
SELECT
    region,
    period_start,
    stage,
    COUNT(*) AS open_n,
    COALESCE(SUM(amount), 0) AS open_amount,
    COUNT(*) - COUNT(amount) AS unknown_amount_n,
    AVG(last_day - entered_at::DATE)::DOUBLE AS stage_age_days_mean,
    AVG(last_day - created_at::DATE)::DOUBLE AS deal_age_days_mean
FROM valued
GROUP BY ALL
