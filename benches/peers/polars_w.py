"""Workload W by Polars: `polars_w.py EVENTS OUT --form plain|packed --engine in-memory|streaming`.

plain   Sorts the events once; a visit's end is the row below, a deal is a group of rows; one
        lazy plan, collected once.
packed  Instant and stage in one integer, deal and that in a wider one, so that the sort has one
        key; texts as categories; deals by a hashed group; the rest of a won deal's row is fetched
        by a semi join. Collected in steps, because each step is used more than once.
"""

import argparse
import os

STAGES = ["lead", "qualified", "proposal", "negotiation", "won", "lost"]
PLACES = [1, 2, 3, 4, 5, 0]
MICROS_PER_HOUR = 3_600_000_000
# Above every packed instant, so that a deal and an instant share an integer of 128 bits.
DEAL = 1 << 63


def plain(pl, events, engine):
    """Visits, deals and won deals, lazily."""
    stage, time, deal = pl.col("stage_id"), pl.col("event_time"), pl.col("deal_id")
    events = events.drop("product").sort("deal_id", "event_time")
    is_same = deal == deal.shift(-1)
    visits = events.select(
        from_stage=stage,
        to_stage=pl.when(is_same).then(stage.shift(-1)).otherwise(pl.lit("STILL")),
        dwell=pl.when(is_same).then((time.shift(-1) - time).dt.total_hours()),
    )
    is_closed = stage.is_in(["won", "lost"])
    deals = (
        events.with_columns(
            place=stage.replace_strict(STAGES, PLACES, return_dtype=pl.Int8),
            closed_time=pl.when(is_closed).then(time),
            closed_stage=pl.when(is_closed).then(stage),
        )
        .group_by("deal_id")
        .agg(
            pl.col("customer_id", "region", "source").first(),
            pl.col("owner_id", "amount").last(),
            last_stage=stage.last(),
            created_at=time.first(),
            closed_at=time.last(),
            first_closed_at=pl.col("closed_time").min(),
            outcome=pl.col("closed_stage").drop_nulls().first(),
            reached=pl.col("place").max(),
        )
        .with_columns(cycle=(pl.col("first_closed_at") - pl.col("created_at")).dt.total_hours())
    )
    return visits, deals, deals.filter(pl.col("last_stage") == "won")


def packed(pl, events, engine):
    """Visits, deals and won deals, each computed once."""
    def hours(begin, end):
        return (end // 8 - begin // 8) // MICROS_PER_HOUR

    code = pl.col("stage_id").cast(pl.Enum(STAGES)).to_physical().cast(pl.Int64)
    moment, deal = pl.col("moment"), pl.col("deal_id")
    if events.collect_schema()["deal_id"] == pl.String:
        deal = deal.cast(pl.Categorical).to_physical()
    events = events.with_columns(
        pl.col("region", "source").cast(pl.Categorical),
        deal_id=deal,
        moment=pl.col("event_time").dt.epoch("us") * 8 + code,
    )
    moments = events.select("deal_id", "region", "source", "moment").collect(engine=engine).lazy()
    key, deal = pl.col("key"), pl.col("deal_id")
    visits = (
        moments.select(key=deal.cast(pl.Int128) * DEAL + moment)
        .sort("key")
        .select(deal_id=(key // DEAL).cast(pl.Int64), moment=(key % DEAL).cast(pl.Int64))
        .with_columns(next=pl.when(deal == deal.shift(-1)).then(moment.shift(-1)))
        .select(
            from_code=moment & 7,
            to_code=pl.col("next") & 7,
            dwell=hours(moment, pl.col("next")),
        )
        .collect(engine="in-memory")
        .lazy()
    )
    stage = moment & 7
    deals = (
        moments.with_columns(
            close=pl.when(stage >= 4).then(moment),
            level=pl.when(stage < 5).then(stage + 1),
        )
        .group_by("deal_id")
        .agg(
            pl.col("region", "source").first(),
            first=moment.min(),
            last=moment.max(),
            closed=pl.col("close").min(),
            reached=pl.col("level").max(),
        )
        .with_columns(
            created_at=pl.from_epoch(pl.col("first") // 8, "us"),
            cycle=hours(pl.col("first"), pl.col("closed")),
            outcome=pl.when(pl.col("closed") & 7 == 4).then(pl.lit("won")),
        )
        .collect(engine="streaming")
        .lazy()
    )
    won = (
        events.filter(pl.col("stage_id") == "won")
        .join(deals.select("deal_id", moment="last"), on=["deal_id", "moment"], how="semi")
        .rename({"event_time": "closed_at"})
        .select("customer_id", "region", "owner_id", "amount", "closed_at")
        .collect(engine=engine)
        .lazy()
    )
    return visits, deals, won


def transitions(pl, visits):
    """Moves from stage to stage; the packed form groups by codes and names the groups."""
    is_packed = "from_code" in visits.collect_schema()
    keys = ["from_code", "to_code"] if is_packed else ["from_stage", "to_stage"]
    dwell = pl.col("dwell")
    moves = visits.group_by(keys).agg(
        moves_n=pl.len(),
        dwell_days_p50=dwell.quantile(0.5, "linear") / 24,
        dwell_days_p90=dwell.quantile(0.9, "linear") / 24,
    )
    if not is_packed:
        return moves
    def name(column):
        return pl.col(column).replace_strict(
            range(len(STAGES)), STAGES, default="STILL", return_dtype=pl.String
        )
    return moves.select(
        pl.exclude(keys), from_stage=name("from_code"), to_stage=name("to_code")
    )


def cohorts(pl, won):
    """What customers of a month's first orders brought by age in months."""
    amount, day = pl.col("amount"), pl.col("day")
    orders = won.filter(amount.is_not_null()).select(
        "customer_id", "amount", day=pl.col("closed_at").dt.date()
    )
    firsts = orders.group_by("customer_id").agg(cohort=day.min().dt.truncate("1mo"))
    days = (
        orders.join(firsts, on="customer_id")
        .group_by("customer_id", "cohort", "day")
        .agg(orders_n=pl.len(), amount=amount.sum(), least=amount.min())
        .with_columns(month=day.dt.truncate("1mo"))
    )
    month, cohort = pl.col("month"), pl.col("cohort")
    is_refunded = (amount < 0) | ((amount == 0) & (pl.col("least") < 0))
    months = days.group_by("customer_id", "cohort", "month").agg(
        (~is_refunded | (month == cohort)).any().alias("bought"),
        pl.col("orders_n").sum(),
        amount.sum(),
    )
    years = month.dt.year().cast(pl.Int64) - cohort.dt.year()
    age = years * 12 + month.dt.month().cast(pl.Int64) - cohort.dt.month()
    cells = months.group_by(period_start=cohort, age=age).agg(
        pl.col("orders_n").sum(), amount.sum(), active_n=pl.col("bought").sum()
    )
    return cells.filter(pl.col("active_n") > 0)


def tables(pl, visits, deals, won):
    """The five tables, lazily."""
    cycle, n, amount = pl.col("cycle"), pl.col("n"), pl.col("amount")
    is_won = pl.col("outcome") == "won"
    month = pl.col("created_at").dt.truncate("1mo").dt.date()
    levels = pl.LazyFrame({"stage_order": [1, 2, 3, 4, 5]})
    return {
        "stage_transitions": transitions(pl, visits),
        "cycle_length": deals.group_by("region", "source").agg(
            deals_n=pl.len(),
            won_n=is_won.sum(),
            won_days_p50=cycle.filter(is_won).quantile(0.5, "linear") / 24,
            won_days_p90=cycle.filter(is_won).quantile(0.9, "linear") / 24,
        ),
        "clv_cohorts": cohorts(pl, won),
        "revenue": won.group_by(
            "region", "owner_id", period_start=pl.col("closed_at").dt.truncate("1mo").dt.date()
        ).agg(won_n=pl.len(), net_amount=amount.sum(), zero_amount_n=(amount == 0).sum()),
        "funnel": deals.group_by("source", "reached", period_start=month)
        .agg(n=pl.len())
        .join(levels, how="cross")
        .group_by("source", "period_start", "stage_order")
        .agg(
            population_n=n.sum(),
            entered_n=n.filter(pl.col("reached") >= pl.col("stage_order")).sum(),
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events")
    parser.add_argument("out")
    parser.add_argument("--form", choices=["plain", "packed"], required=True)
    parser.add_argument("--engine", choices=["in-memory", "streaming"], required=True)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ["POLARS_MAX_THREADS"] = str(arguments.threads)
    import polars as pl  # reads the number of threads when it is imported

    events = pl.scan_parquet(f"{arguments.events}/**/*.parquet", hive_partitioning=False)
    form = plain if arguments.form == "plain" else packed
    plans = tables(pl, *form(pl, events, arguments.engine))
    frames = pl.collect_all(list(plans.values()), engine=arguments.engine)
    for table, frame in zip(plans, frames):
        frame.write_parquet(f"{arguments.out}/{table}.parquet")


if __name__ == "__main__":
    main()
