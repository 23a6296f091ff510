-- rows: slice = 'all' AND period = 'month' AND is_mature AND active_n > 0
-- A day whose net is zero or less because of refunds is not a purchase day; the first month counts.
WITH days AS (
    SELECT
        cohort,
        month,
        customer_id,
        COUNT(*) AS orders_n,
        SUM(amount) AS amount,
        SUM(amount) > 0 OR (SUM(amount) = 0 AND MIN(amount) >= 0) OR month = cohort AS is_purchase
    FROM orders
    GROUP BY cohort, month, customer_id, closed_at::DATE
),
cells AS (
    SELECT
        cohort,
        DATE_DIFF('month', cohort, month) AS age,
        COUNT(DISTINCT customer_id) FILTER (WHERE is_purchase) AS active_n,
        SUM(orders_n) AS orders_n,
        SUM(amount) AS amount
    FROM days
    GROUP BY ALL
)
SELECT
    cohort AS period_start,
    age,
    (SELECT COUNT(DISTINCT customer_id) FROM orders AS o WHERE o.cohort = cells.cohort)
        AS cohort_size_n,
    active_n,
    orders_n,
    amount,
    SUM(amount) OVER (PARTITION BY cohort ORDER BY age) AS cumulative_amount
FROM cells
QUALIFY cohort + TO_MONTHS((age + 1)::INTEGER) <= as_of() + INTERVAL 1 MICROSECOND
