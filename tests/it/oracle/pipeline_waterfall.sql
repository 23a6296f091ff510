-- rows: slice = 'all' AND period = 'month' AND "window" = 'all' AND mode = 'gross'
WITH months AS (
    SELECT first AS start_at, first + INTERVAL 1 MONTH AS end_at
    FROM UNNEST(GENERATE_SERIES(
        (SELECT DATE_TRUNC('month', MIN(entered_at)) FROM visits)::TIMESTAMP,
        DATE_TRUNC('month', as_of())::TIMESTAMP,
        INTERVAL 1 MONTH
    )) AS series(first)
),
grid AS (SELECT start_at, end_at, deal_id FROM months, deals),
before AS (
    SELECT grid.*, told.stage_id AS old_stage, COALESCE(told.known_amount, 0) AS old_amount
    FROM grid ASOF LEFT JOIN told
        ON grid.deal_id = told.deal_id AND grid.start_at > told.event_time
),
after AS (
    SELECT before.*, told.stage_id AS new_stage, COALESCE(told.known_amount, 0) AS new_amount
    FROM before ASOF LEFT JOIN told
        ON before.deal_id = told.deal_id AND before.end_at > told.event_time
),
closes AS (
    SELECT after.*, COALESCE(visits.entry_amount, 0) AS close_amount
    FROM after ASOF LEFT JOIN visits
        ON after.deal_id = visits.deal_id AND after.end_at > visits.entered_at
),
comings AS (
    SELECT
        start_at,
        grid.deal_id,
        ARG_MIN(STRUCT_PACK(amount := COALESCE(entry_amount, 0)), entered_at).amount AS amount
    FROM grid JOIN visits
        ON grid.deal_id = visits.deal_id
        AND visits.entered_at >= grid.start_at AND visits.entered_at < grid.end_at
    WHERE place(stage) > 0
    GROUP BY ALL
),
flows AS (
    SELECT
        closes.start_at::DATE AS period_start,
        CASE WHEN place(old_stage) > 0 THEN 'start' WHEN old_stage IS NULL THEN 'new'
            ELSE 'reopened' END AS entry,
        CASE WHEN place(old_stage) > 0 THEN old_amount ELSE comings.amount END AS entry_amount,
        CASE WHEN place(new_stage) > 0 THEN 'end' ELSE new_stage END AS exit,
        CASE WHEN place(new_stage) > 0 THEN new_amount ELSE close_amount END AS exit_amount
    FROM closes LEFT JOIN comings
        ON comings.start_at = closes.start_at AND comings.deal_id = closes.deal_id
    WHERE place(old_stage) > 0 OR comings.amount IS NOT NULL
)
SELECT
    period_start,
    COUNT(*) FILTER (WHERE entry = 'start') AS start_n,
    COALESCE(SUM(entry_amount) FILTER (WHERE entry = 'start'), 0) AS start_amount,
    COUNT(*) FILTER (WHERE entry = 'new') AS new_n,
    COALESCE(SUM(entry_amount) FILTER (WHERE entry = 'new'), 0) AS new_amount,
    COUNT(*) FILTER (WHERE entry = 'reopened') AS reopened_n,
    COALESCE(SUM(entry_amount) FILTER (WHERE entry = 'reopened'), 0) AS reopened_amount,
    COUNT(*) FILTER (WHERE exit_amount > entry_amount) AS increased_n,
    COALESCE(SUM(exit_amount - entry_amount) FILTER (WHERE exit_amount > entry_amount), 0)
        AS increased_amount,
    COUNT(*) FILTER (WHERE exit_amount < entry_amount) AS decreased_n,
    COALESCE(SUM(entry_amount - exit_amount) FILTER (WHERE exit_amount < entry_amount), 0)
        AS decreased_amount,
    COUNT(*) FILTER (WHERE exit = 'lost') AS lost_n,
    COALESCE(SUM(exit_amount) FILTER (WHERE exit = 'lost'), 0) AS lost_amount,
    COUNT(*) FILTER (WHERE exit = 'won') AS won_n,
    COALESCE(SUM(exit_amount) FILTER (WHERE exit = 'won'), 0) AS won_amount,
    COUNT(*) FILTER (WHERE exit = 'end') AS end_n,
    COALESCE(SUM(exit_amount) FILTER (WHERE exit = 'end'), 0) AS end_amount
FROM flows
GROUP BY ALL
