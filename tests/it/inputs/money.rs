//! Amounts in several currencies (G16). Expected values by hand: the rates are few.

use super::*;
use crate::support::{Cell, filter};

const EVENTS: &str = "\
deal_id,event_time,stage_id,amount,currency,customer_id
1,2024-01-05T10:00:00Z,lead,100,EUR,11
1,2024-02-03T09:00:00Z,won,200,eur,11
2,2024-01-10T10:00:00Z,lead,10000,JPY,12
2,2024-03-01T09:00:00Z,won,,,12
3,2024-01-10T10:00:00Z,lead,50,,13
3,2024-02-10T09:00:00Z,won,,,13
4,2024-01-10T10:00:00Z,lead,30,,14
4,2024-02-15T09:00:00Z,won,70,GBP,14
5,2024-03-05T10:00:00Z,lead,40,EUR,15
";

const RATES: &str = "\
date,currency,rate_to_base
2024-01-01,EUR,1.10
2024-02-01,EUR,1.20
2024-03-15,EUR,1.30
2024-01-01,JPY,0.0070
2024-02-20,JPY,0.0065
2024-02-20,JPY,0.0064
2024-02-20,,1
2024-02-21,CHF,0
";

const CONFIG: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipeline]
stages = ["lead"]
won = ["won"]
lost = ["lost"]
[inputs.deal_events]
path = "events.csv"
[inputs.spend]
path = "spend.csv"
"#;

const FX: &str = "[inputs.fx_rates]\npath = \"rates.csv\"\n";

const SPEND: &str = "date,amount,currency\n2024-02-05,100,EUR\n2024-02-06,7,\n2024-02-07,9,GBP\n";

fn inputs() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("events.csv", EVENTS);
    scratch.write("rates.csv", RATES);
    scratch.write("spend.csv", SPEND);
    scratch
}

/// The whole history's row of a table without slices.
fn whole(scratch: &Scratch, table: &str) -> Row {
    only(&scratch.table(table), &[("slice", "all"), ("period", "all")])
}

/// Cents won, entered the first stage with, and spent.
#[track_caller]
fn check(money: &str, won: i64, entered: i64, spent: i64) {
    let scratch = inputs();
    scratch.run(&format!("{CONFIG}{FX}[money]\n{money}\n")).unwrap();
    let revenue = whole(&scratch, "revenue");
    assert_eq!(int(&revenue, "won_n"), 4, "{money}");
    assert_eq!(int(&revenue, "null_amount_n"), 1, "GBP has no rate: {money}");
    assert_eq!(int(&revenue, "gross_amount"), won, "{money}");
    let moves = scratch.table("stage_transitions");
    let of = [("slice", "all"), ("period", "all"), ("from_stage", "START"), ("to_stage", "lead")];
    assert_eq!(int(&only(&moves, &of), "moved_amount"), entered, "{money}");
    let cac = filter(
        &scratch.table("cac"),
        &[("period", "all"), ("channel_scope", "blended"), ("cost_scope", "all")],
    );
    assert_eq!(int(&only(&cac, &[]), "spend_amount"), spent, "{money}");
}

#[test]
fn amounts_are_converted_by_the_day_that_the_policy_names() {
    // 200 EUR at 1.20, 10,000 JPY at 0.0064 (the lower of two rates of a day), 50 USD; entered with
    // 100 EUR, 10,000 JPY and 50 USD by the rates of the closes (30 are GBP, since the deal names no
    // other currency), and 40 EUR of an open deal by the rate of as_of.
    check("policy = \"at_close\"", 24_000 + 6_400 + 5_000, 12_000 + 6_400 + 5_000 + 5_200, 12_700);
    check("policy = \"at_event\"", 24_000 + 7_000 + 5_000, 11_000 + 7_000 + 5_000 + 4_800, 12_700);
    check("policy = \"at_as_of\"", 26_000 + 6_400 + 5_000, 13_000 + 6_400 + 5_000 + 5_200, 13_700);
    let constant = "policy = \"constant\"\nconstant_date = \"2024-01-15\"";
    check(constant, 22_000 + 7_000 + 5_000, 11_000 + 7_000 + 5_000 + 4_400, 11_700);
}

#[test]
fn what_has_no_rate_is_counted() {
    let scratch = inputs();
    let summary = scratch.run(&format!("{CONFIG}{FX}[money]\npolicy = \"at_close\"\n")).unwrap();
    drop(summary);
    let quality = scratch.table("data_quality");
    for (rule, affected) in [
        ("unpriced_deals", 1),
        ("currencies_without_rate", 1),
        ("unpriced_spend", 1),
        ("duplicate_rates", 1),
        ("bad_rate", 2),
    ] {
        let found: i64 =
            filter(&quality, &[("rule", rule)]).iter().map(|row| int(row, "affected_n")).sum();
        assert_eq!(found, affected, "{rule}");
    }
}

#[test]
fn a_history_in_other_currencies_is_refused_without_a_policy() {
    let error = inputs().run(CONFIG).map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    assert!(text.contains("4 deals in other currencies than USD: EUR, GBP, JPY"), "{text}");
    // One currency is fine if it is the one named.
    let scratch = inputs();
    scratch.write(
        "events.csv",
        &EVENTS.replace(",eur", ",EUR").replace(",JPY", ",").replace(",GBP", ","),
    );
    scratch.write("spend.csv", "date,amount\n2024-02-05,100\n");
    let config = format!("{CONFIG}[money]\ncurrency = \"EUR\"\n");
    scratch.run(&config).unwrap();
    assert_eq!(
        int(&whole(&scratch, "revenue"), "gross_amount"),
        20_000 + 1_000_000 + 5_000 + 7_000
    );
}

#[test]
fn minor_digits_are_those_of_the_reporting_currency() {
    let scratch = inputs();
    scratch.write(
        "rates.csv",
        "date,currency,rate_to_base\n2024-01-01,EUR,160.25\n2024-01-01,USD,150\n",
    );
    scratch.write("spend.csv", "date,amount\n2024-02-05,100\n");
    let events = EVENTS
        .replace("2,2024-01-10T10:00:00Z,lead,10000,JPY", "2,2024-01-10T10:00:00Z,lead,1.2345,USD");
    scratch.write("events.csv", &events);
    let config = format!("{CONFIG}{FX}[money]\ncurrency = \"JPY\"\npolicy = \"at_close\"\n");
    scratch.run(&config).unwrap();
    let revenue = whole(&scratch, "revenue");
    // 200 EUR are 32,050 yen, 1.2345 USD are 185.175, and 50 are yen already.
    assert_eq!(revenue.get("gross_amount"), Some(&Cell::Int(32_050 + 185 + 50)));
}

#[test]
fn a_policy_needs_rates_and_a_date_needs_its_policy() {
    let wrong = |money: &str| inputs().resolve(&format!("{CONFIG}[money]\n{money}\n"));
    for (money, said) in [
        ("policy = \"at_close\"", "rates are missing"),
        ("constant_date = \"2024-01-01\"", "only policy"),
    ] {
        let error = wrong(money).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// Three deals of 10 francs that become 10 euros on the first of February, told in several ways, of
/// which a rate of the day of the event makes 11.00, then 20.00.
#[test]
fn a_change_of_the_currency_alone_changes_what_the_amount_is_worth() {
    let rates = "date,currency,rate_to_base\n2024-01-01,CHF,1.1\n2024-01-01,EUR,2\n";
    let plain = "deal_id,event_time,stage_id,amount,currency\n\
        1,2024-01-05T10:00:00Z,lead,10,CHF\n1,2024-02-01T10:00:00Z,,,EUR\n\
        1,2024-03-01T10:00:00Z,won,,\n";
    let full = "deal_id,event_time,stage_id,amount,currency\n\
        1,2024-01-05T10:00:00Z,lead,10,CHF\n1,2024-02-01T10:00:00Z,lead,10,EUR\n\
        1,2024-03-01T10:00:00Z,won,10,EUR\n";
    for (events, shape) in [(plain, "events"), (full, "events"), (full, "row_history")] {
        for policy in ["at_event", "at_close", "at_as_of"] {
            let scratch = Scratch::new();
            scratch.write("events.csv", events);
            scratch.write("rates.csv", rates);
            let config = CONFIG.replace("[inputs.spend]\npath = \"spend.csv\"\n", "");
            let config =
                format!("{config}shape = \"{shape}\"\n{FX}[money]\npolicy = \"{policy}\"\n");
            scratch.run(&config).unwrap_or_else(|e| panic!("{e}"));
            let net = int(&whole(&scratch, "revenue"), "net_amount");
            assert_eq!(net, 2_000, "{shape} {policy}");
            // It came into its stage as francs.
            let lead = [("slice", "all"), ("period", "all"), ("to_stage", "lead")];
            let moves = filter(&scratch.table("stage_transitions"), &lead);
            assert_eq!(moves.len(), 1);
        }
    }
}
