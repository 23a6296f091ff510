-- rows: slice = 'region+source' AND period = 'all'
WITH closes AS (
    SELECT DISTINCT ON (deal_id) deal_id, stage AS outcome, entered_at AS first_closed_at
    FROM visits WHERE stage IN ('won', 'lost')
    ORDER BY deal_id, entered_at
),
cycles AS (
    SELECT
        d.region,
        d.source,
        c.outcome,
        (EPOCH_US(c.first_closed_at) - EPOCH_US(d.created_at)) // 3600000000 AS hours
    FROM deals AS d LEFT JOIN closes AS c USING (deal_id)
)
SELECT
    region,
    source,
    COUNT(*) AS deals_n,
    COUNT(*) FILTER (WHERE outcome = 'won') AS won_n,
    COUNT(*) FILTER (WHERE outcome = 'lost') AS lost_n,
    COUNT(*) FILTER (WHERE outcome IS NULL) AS censored_n,
    AVG(hours) FILTER (WHERE outcome = 'won') / 24 AS won_days_mean,
    QUANTILE_CONT(hours, 0.5) FILTER (WHERE outcome = 'won') / 24 AS won_days_p50,
    QUANTILE_CONT(hours, 0.9) FILTER (WHERE outcome = 'won') / 24 AS won_days_p90
FROM cycles
GROUP BY ALL
