//! Which model of when customers buy and stop, and of what they spend, fits them, and how well.
//!
//! A row is a parameter. A fit that does not converge is a row, too, with what can be said of it;
//! nothing here judges single customers: `customer_value` does, by one of these models.

use rayon::prelude::*;

use super::valuation::{self, Known, Outcome, decimals, significant};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::btyd::{GammaGamma, Model};
use crate::stats::float;
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// The model of what customers spend.
const GAMMA_GAMMA: &str = "gamma_gamma";

/// Definition: maximum likelihood from the customers' purchase days (repeats x, recency t_x, age T in
/// the configured unit of time), and from the mean amount of their repeats in minor units divided
/// by the currency's scale; as of the run's instant.
///
/// Edge cases: fewer than 20 customers with a repeat are `too_few` for a fit; customers without a
/// purchase day (refunded in full), and for Gamma-Gamma those without a repeat or without a mean
/// above zero, are left out and counted.
pub static METRIC: Metric = Metric {
    name: "clv_models",
    question: "Which model of buying and stopping fits the customers, and how well?",
    grain: "one row per slice, model and parameter",
    states: &[
        State {
            relation: Relation::Customers,
            sql: "SELECT repeats_n, age_days, recency_days, SUM(is_buyer) AS buyers_n, \
                  COUNT(*) AS all_n FROM customers GROUP BY repeats_n, age_days, recency_days",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Customers,
            sql: "SELECT repeats_n, repeat_amount, COUNT(*) AS repeaters_n FROM customers \
                  WHERE repeats_n > 0 GROUP BY repeats_n, repeat_amount",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Fader, Hardie and Lee, 2005, Counting Your Customers the Easy Way",
        "Batislam, Denizel and Filiztekin, 2007, Empirical Validation and Comparison of Models for \
         Customer Base Analysis",
        "Schmittlein, Morrison and Colombo, 1987, Counting Your Customers",
        "Fader and Hardie, 2013, The Gamma-Gamma Model of Monetary Value",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("clv_model", "bg_nbd, mbg_nbd or pareto_nbd (when); gamma_gamma (how much).")
        .key(),
    ColumnSpec::text("clv_parameter", "The parameter by its authors' name.").key(),
    ColumnSpec::number(
        "estimate",
        "as the parameter",
        "The likeliest value, to 5 digits; null if too_few.",
    )
    .nullable(),
    ColumnSpec::number(
        "standard_error",
        "as the parameter",
        "Its standard error, to 4 digits; null unless is_hessian_pd.",
    )
    .nullable(),
    ColumnSpec::text(
        "fit_status",
        "converged; boundary: a parameter runs to zero or infinity; not_converged; too_few.",
    ),
    ColumnSpec::count("customers_n", "customers", "Customers that the model is fitted to."),
    ColumnSpec::count("repeaters_n", "customers", "Of these, with a purchase day after the first."),
    ColumnSpec::count(
        "excluded_n",
        "customers",
        "Left out: without a purchase day; for gamma_gamma, without a repeat of a mean above zero.",
    ),
    ColumnSpec::number("log_likelihood", "nats", "Of all customers; null if too_few.").nullable(),
    ColumnSpec::number(
        "gradient_norm",
        "nats per customer",
        "Length of the gradient by the parameters' logarithms, to 6 decimals: 0 at a maximum; \
         null if it cannot be computed.",
    )
    .nullable(),
    ColumnSpec::flag(
        "is_hessian_pd",
        "The Hessian of the negative log-likelihood is positive definite; null if too_few.",
    )
    .nullable(),
    ColumnSpec::flag("is_used", "customer_value judges customers by this model."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "repeaters_n ≤ customers_n",
        holds: |row| row.int("repeaters_n") <= row.int("customers_n"),
    },
    Identity {
        claim: "every parameter is above 0",
        holds: |row| row.float("estimate").is_none_or(|value| value > 0.0),
    },
    Identity {
        claim: "a converged fit has a positive definite Hessian and standard errors",
        holds: |row| {
            row.text("fit_status") != Some("converged")
                || (row.bool("is_hessian_pd") == Some(true)
                    && row.float("standard_error").is_some())
        },
    },
];

/// How many customers a model was fitted to.
#[derive(Debug, Clone, Copy)]
struct Counted {
    customers_n: i64,
    repeaters_n: i64,
    excluded_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [histories, spending] = group.states else {
        return Err(Error::Bug("the models have two states".into()));
    };
    if group.period != Period::All || histories.rows() == 0 {
        return Ok(());
    }
    let valuation = &group.settings.clv;
    let columns = ["repeats_n", "recency_days", "age_days", "buyers_n"];
    let known = Known::new(valuation::histories(histories, columns)?, valuation);
    let all_n: i64 = histories.value("all_n")?.iter().sum();
    let amounts = spending.key("repeats_n")?.iter().zip(spending.key("repeat_amount")?);
    let amounts = amounts.zip(spending.value("repeaters_n")?);
    let amounts = amounts.map(|((x, amount), n)| (*x, *amount, *n));
    let (fits, (spent, spenders)) = rayon::join(
        || Model::EVERY.par_iter().map(|model| known.fit(*model)).collect::<Vec<_>>(),
        || valuation::fit_spending(amounts),
    );
    let counted = Counted {
        customers_n: known.customers_n,
        repeaters_n: known.repeaters_n,
        excluded_n: all_n - known.customers_n,
    };
    for (model, fit) in Model::EVERY.into_iter().zip(&fits) {
        let is_used = model == valuation.model;
        push_fit(rows, (model.name(), is_used), model.parameters(), fit, counted, [1.0; 4])?;
    }
    let counted = Counted {
        customers_n: spenders.customers_n,
        repeaters_n: spenders.customers_n,
        excluded_n: all_n - spenders.customers_n,
    };
    // Money is counted in minor units inside and shown in units of the currency.
    let minor = 10_f64.powi(i32::from(group.settings.money_scale));
    let scales = [1.0, 1.0, minor];
    push_fit(rows, (GAMMA_GAMMA, true), GammaGamma::PARAMETERS, &spent, counted, scales)
}

/// One row per parameter; `units` is what each is divided by.
fn push_fit<const N: usize>(
    rows: &mut Rows<'_>,
    (model, is_used): (&str, bool),
    names: [&str; N],
    outcome: &Outcome<N>,
    counted: Counted,
    units: [f64; N],
) -> Result<(), Error> {
    let fit = outcome.fit();
    // The density of an amount depends on the unit of money.
    let unit_shift: f64 = units.iter().map(|unit| unit.ln()).sum();
    let unit_shift = unit_shift * float(counted.customers_n);
    let finite = |value: f64| value.is_finite().then_some(value);
    let likelihood =
        fit.and_then(|f| finite(f.log_likelihood)).map(|l| decimals(l + unit_shift, 4));
    let gradient = fit.and_then(|f| finite(f.gradient_norm)).map(|g| decimals(g, 6));
    for (place, (name, unit)) in names.into_iter().zip(units).enumerate() {
        let of = |values: &[f64; N]| values.get(place).map(|value| value / unit);
        let estimate = fit.and_then(|f| of(&f.parameters)).and_then(finite);
        let error = fit.and_then(|f| of(f.standard_errors.as_ref()?)).and_then(finite);
        rows.push(
            NO_DAY,
            &[
                ("clv_model", Value::Text(model)),
                ("clv_parameter", Value::Text(name)),
                ("estimate", Value::float(estimate.map(|value| significant(value, 5)))),
                ("standard_error", Value::float(error.map(|value| significant(value, 4)))),
                ("fit_status", Value::Text(outcome.status())),
                ("customers_n", Value::Int(counted.customers_n)),
                ("repeaters_n", Value::Int(counted.repeaters_n)),
                ("excluded_n", Value::Int(counted.excluded_n)),
                ("log_likelihood", Value::float(likelihood)),
                ("gradient_norm", Value::float(gradient)),
                ("is_hessian_pd", fit.map_or(Value::Null, |f| Value::Bool(f.is_hessian_pd))),
                ("is_used", Value::Bool(is_used)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TableOptions;
    use crate::engine::testing::{plan, table as table_of};
    use crate::metrics::Settings;
    use crate::metrics::testing::{cells, check, finish as table, settings, state};
    use crate::relations::fixture::Fixture;
    use crate::stats::btyd::testing::cdnow;
    use crate::table::Table;

    /// The states of the CDNOW calibration customers, in days and cents.
    fn cdnow_table() -> Option<Table> {
        let customers = cdnow()?;
        let days = |weeks: f64| (weeks * 7.0).round() as i64;
        let mut histories: Vec<[i64; 5]> = Vec::new();
        let mut spending: Vec<[i64; 3]> = Vec::new();
        for customer in customers {
            let h = customer.history;
            histories.push([h.repeats as i64, days(h.age), days(h.recency), 1, 1]);
            if h.repeats > 0.0 {
                let cents = (customer.mean * h.repeats * 100.0).round() as i64;
                spending.push([h.repeats as i64, cents, 1]);
            }
        }
        let histories: Vec<&[i64]> = histories.iter().map(|row| &row[..]).collect();
        let spending: Vec<&[i64]> = spending.iter().map(|row| &row[..]).collect();
        let keys = ["repeats_n", "age_days", "recency_days"];
        let states = [
            state(&keys, &["buyers_n", "all_n"], &histories),
            state(&["repeats_n", "repeat_amount"], &["repeaters_n"], &spending),
        ];
        Some(table(&METRIC, &states, Period::All, &settings(&["L"], 10_134)).unwrap())
    }

    #[test]
    fn cdnow_models_are_as_published() {
        let Some(table) = cdnow_table() else { return };
        for (model, names, values, log_likelihood) in [
            ("bg_nbd", "a alpha b r", "0.79292 4.4136 2.4259 0.24259", "-9582.4292"),
            ("mbg_nbd", "a alpha b r", "0.89136 6.1831 1.614 0.52484", "-9582.1357"),
            ("pareto_nbd", "alpha beta r s", "10.578 11.669 0.55328 0.60624", "-9594.9762"),
            ("gamma_gamma", "gamma p q", "15.444 6.2496 3.7442", "-4055.9177"),
        ] {
            let at = [&format!("clv_model={model}")[..]];
            check(&table, &at, "clv_parameter", names);
            check(&table, &at, "estimate", values);
            let found = cells(&table, &at, "log_likelihood");
            assert!(found.iter().all(|l| l == log_likelihood), "{found:?}");
            assert!(cells(&table, &at, "fit_status").iter().all(|s| s == "converged"));
        }
        check(&table, &["clv_model=bg_nbd", "clv_parameter=r"], "customers_n", "2357");
        check(&table, &["clv_model=bg_nbd", "clv_parameter=r"], "repeaters_n", "946");
        check(&table, &["clv_model=gamma_gamma", "clv_parameter=p"], "customers_n", "946");
        check(&table, &["clv_model=mbg_nbd", "clv_parameter=r"], "is_used", "true");
        check(&table, &["clv_model=bg_nbd", "clv_parameter=r"], "is_used", "false");
    }

    #[test]
    fn fits_are_split_only_where_the_table_is_asked_to_be() {
        let relations = Fixture::new(&["L", "Won", "Lost"])
            .dimensions(&["region"])
            .line(Relation::Customers, "customer=1 is_buyer=1 repeats_n=1 region=east")
            .line(Relation::Customers, "customer=2 is_buyer=1 repeats_n=0 region=west")
            .build();
        let settings =
            Settings { dictionaries: relations.dictionaries.clone(), ..settings(&["L"], 100) };
        let mut plan = plan(&[&[], &["region"]], &[]);
        let at = ["clv_model=bg_nbd", "clv_parameter=r"];
        let table = table_of(&relations, &METRIC, &plan, &settings);
        check(&table, &at, "slice", "all");
        check(&table, &at, "customers_n", "2");
        let slices = Some(vec![vec!["region".to_owned()]]);
        plan.tables.insert(METRIC.name.into(), TableOptions { slices, ..Default::default() });
        let table = table_of(&relations, &METRIC, &plan, &settings);
        check(&table, &at, "region", "east west");
        check(&table, &at, "repeaters_n", "1 0");
    }

    #[test]
    fn few_customers_are_rows_without_estimates() {
        let keys = ["repeats_n", "age_days", "recency_days"];
        let states = [
            state(&keys, &["buyers_n", "all_n"], &[&[0, 9, 0, 0, 2], &[1, 50, 30, 5, 5]]),
            state(&["repeats_n", "repeat_amount"], &["repeaters_n"], &[&[1, 0, 1], &[1, 700, 4]]),
        ];
        let table = table(&METRIC, &states, Period::All, &settings(&["L"], 100)).unwrap();
        check(&table, &["clv_model=mbg_nbd"], "fit_status", "too_few too_few too_few too_few");
        check(&table, &["clv_model=mbg_nbd"], "estimate", "- - - -");
        // Two customers were refunded in full; one more has repeats worth nothing.
        check(&table, &["clv_model=mbg_nbd"], "excluded_n", "2 2 2 2");
        check(&table, &["clv_model=gamma_gamma"], "excluded_n", "3 3 3");
    }
}
