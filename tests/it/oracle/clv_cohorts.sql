-- rows: slice = 'all' AND period = 'month' AND is_mature AND active_n > 0
WITH cells AS (
    SELECT
        cohort,
        DATE_DIFF('month', cohort, month) AS age,
        COUNT(DISTINCT customer_id) AS active_n,
        COUNT(*) AS orders_n,
        SUM(amount) AS amount
    FROM orders
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
