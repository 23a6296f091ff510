-- rows: slice = 'region' AND period = 'month' AND won_n > 0
WITH won AS (
    SELECT d.*, o.number, DATE_TRUNC('month', d.closed_at)::DATE AS period_start
    FROM deals AS d LEFT JOIN orders AS o USING (deal_id)
    WHERE d.stage = 'won'
)
SELECT
    region,
    period_start,
    COUNT(*) AS won_n,
    COALESCE(SUM(amount) FILTER (WHERE amount > 0), 0) AS gross_amount,
    COALESCE(SUM(amount) FILTER (WHERE amount < 0), 0) AS refund_amount,
    COALESCE(SUM(amount), 0) AS net_amount,
    COUNT(*) - COUNT(amount) AS null_amount_n,
    COUNT(*) FILTER (WHERE amount = 0) AS zero_amount_n,
    COUNT(*) FILTER (WHERE number = 1) AS new_business_n,
    COALESCE(SUM(amount) FILTER (WHERE number = 1), 0) AS new_business_amount,
    COUNT(*) FILTER (WHERE number > 1) AS existing_business_n
FROM won
GROUP BY ALL
