-- rows: slice = 'source' AND period = 'month' AND population = 'created' AND variant IN ('touched', 'reached')
WITH created AS (
    SELECT *, DATE_TRUNC('month', created_at)::DATE AS period_start FROM deals
),
cells AS (
    SELECT
        d.*,
        stage_order,
        ever_won OR furthest >= stage_order AS has_reached,
        CASE WHEN stage_order = 5 THEN ever_won ELSE deal_id IN (
            SELECT v.deal_id FROM visits AS v WHERE place(v.stage) = stage_order
        ) END AS has_touched
    FROM created AS d, RANGE(1, 6) AS levels(stage_order)
)
SELECT
    source,
    period_start,
    variant,
    stage_order,
    COUNT(*) AS population_n,
    COUNT(*) FILTER (WHERE CASE variant WHEN 'reached' THEN has_reached ELSE has_touched END)
        AS entered_n
FROM cells, (VALUES ('reached'), ('touched')) AS variants(variant)
GROUP BY ALL
