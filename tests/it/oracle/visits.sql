-- Visits and deals from raw events, by windows. Nothing of the engine's own relations is used.

CREATE TEMP TABLE told AS
SELECT
    *,
    LAG(stage_id) OVER one AS before,
    LAST_VALUE(amount IGNORE NULLS) OVER so_far AS known_amount
FROM events
WHERE event_time <= as_of()
WINDOW
    one AS (PARTITION BY deal_id ORDER BY event_time),
    so_far AS (
        PARTITION BY deal_id ORDER BY event_time
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    );

CREATE TEMP TABLE visits AS
SELECT
    deal_id,
    region,
    source,
    stage_id AS stage,
    before AS prev_stage,
    LEAD(stage_id) OVER one AS next_stage,
    event_time AS entered_at,
    LEAD(event_time) OVER one AS left_at,
    known_amount AS entry_amount,
    LEAD(known_amount) OVER one AS move_amount
FROM told
WHERE before IS DISTINCT FROM stage_id
WINDOW one AS (PARTITION BY deal_id ORDER BY event_time);

CREATE MACRO place(stage) AS
    CASE stage WHEN 'lead' THEN 1 WHEN 'qualified' THEN 2 WHEN 'proposal' THEN 3
    WHEN 'negotiation' THEN 4 ELSE 0 END;

CREATE TEMP TABLE deals AS
SELECT
    deal_id,
    ANY_VALUE(customer_id) AS customer_id,
    ANY_VALUE(region) AS region,
    ANY_VALUE(source) AS source,
    MIN(event_time) AS created_at,
    ARG_MAX(stage_id, event_time) AS stage,
    ARG_MAX(event_time, event_time) FILTER (WHERE before IS DISTINCT FROM stage_id) AS closed_at,
    ARG_MAX(amount, event_time) AS amount,
    MAX(place(stage_id)) AS furthest,
    BOOL_OR(stage_id = 'won') AS ever_won
FROM told
GROUP BY deal_id;

CREATE TEMP TABLE orders AS
SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY closed_at) AS number,
    DATE_TRUNC('month', closed_at)::DATE AS month,
    DATE_TRUNC('month', MIN(closed_at) OVER (PARTITION BY customer_id))::DATE AS cohort
FROM deals
WHERE stage = 'won' AND customer_id IS NOT NULL AND amount IS NOT NULL;
