//! A small generated history that can be laid out in many ways, and everything computed from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use dealmill::config::Resolved;
use dealmill::engine::{self, Backend, Execution, Plan};
use dealmill::metrics::{Metric, REGISTRY};
use dealmill::quality::Ledger;
use dealmill::run::{self, History};
use dealmill::source::synthetic::{GenerateOptions, Ids, generate};
use dealmill::table::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

use crate::support::Scratch;

/// Metrics of a user's own, which obey the same laws as the registry's.
pub(crate) const CUSTOM: &str = r#"
[[metrics]]
name = "won_by_source"
relation = "deals"
sql = """SELECT closed_period AS period, source AS origin, COUNT(*) AS won_n,
         SUM(amount) AS won_amount, MIN(cycle) AS cycle_least, MAX(closed_on) AS last_closed_on
         FROM deals WHERE is_won = 1 GROUP BY period, origin"""

[[metrics]]
name = "moves_of_owners"
relation = "visits"
sql = """SELECT entered_period AS period, owner, stage, move, COUNT(*) AS moves_n,
         SUM(dwell) AS dwell_sum, SUM(2 * is_first_move) AS twice
         FROM visits GROUP BY period, owner, stage, move"""

[[metrics]]
name = "totals"
relation = "customers"
sql = "SELECT COUNT(*) AS customers_n, SUM(amount) AS amount_sum FROM customers"

[[metrics]]
name = "goals"
relation = "targets"
sql = """SELECT starts_period AS period, target_owner, COUNT(*) AS targets_n,
         SUM(target_amount) AS target_amount, SUM(elapsed_workdays_n) AS workdays_n
         FROM targets GROUP BY period, target_owner"""

[[metrics]]
name = "voices"
relation = "surveys"
sql = """SELECT answered_period AS period, score_class, COUNT(*) AS asked_n,
         SUM(is_latest) AS latest_n, SUM(has_deal) AS matched_n, MAX(customer) AS last_customer
         FROM surveys GROUP BY period, score_class"""

[[metrics]]
name = "contacts"
relation = "touches"
sql = """SELECT touched_period AS period, channel AS way, touch_campaign, COUNT(*) AS touches_n,
         SUM(is_first_touch) AS first_n FROM touches GROUP BY period, way, touch_campaign"""

[[metrics]]
name = "recurring"
relation = "contracts"
sql = """SELECT starts_period AS period, customer, SUM(mrr_amount) AS mrr_amount,
         SUM(is_running) AS running_n, MIN(ends_on) AS first_ends_on
         FROM contracts GROUP BY period, customer"""
"#;

/// Some deals are older than what is known of them.
const HISTORY_FROM: &str = "history_from = \"2019-04-01\"";
/// The input of payments.
const PAYMENTS: &str = "[inputs.payments]\npath = \"made/payments.csv\"";
/// How many metrics there are of a user's own.
pub(crate) const CUSTOM_N: usize = 7;

/// A generated history and its events as one batch.
pub(crate) struct Sample {
    pub scratch: Scratch,
    pub events: RecordBatch,
}

impl Sample {
    /// Eighteen months of deals.
    pub(crate) fn new(deals: u64, seed: u64, ids: Ids) -> Self {
        let scratch = Scratch::new();
        let made = scratch.path("made");
        let options =
            GenerateOptions { months: 18, ids, ..GenerateOptions::new(deals, seed, made) };
        generate(&options).unwrap();
        let mut batches = Vec::new();
        for file in parquet_files(&scratch.path("made/deal_events")) {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap());
            batches.extend(reader.unwrap().build().unwrap().map(|b| plain(&b.unwrap())));
        }
        let events = concat_batches(&batches[0].schema(), &batches).unwrap();
        write_tables(&scratch, &events);
        let sample = Self { scratch, events };
        sample.write_payments();
        sample
    }

    /// Payments of every second deal, some without one; shares of every third.
    fn write_payments(&self) {
        let deals = self.events.column_by_name("deal_id").unwrap();
        let text = |row| array_value_to_string(deals, row).unwrap();
        let distinct: BTreeSet<String> = (0..deals.len()).map(text).collect();
        let mut payments = String::from("payment_id,deal_id,customer_id,paid_at,amount,kind\n");
        let mut splits = String::from("deal_id,owner_id,share\n");
        for (n, deal) in distinct.iter().enumerate() {
            let day = format!("20{}-{:02}-{:02}", 19 + n % 2, 1 + n % 12, 1 + n % 28);
            let (amount, kind) = (5 + n % 7 * 10, if n % 9 == 0 { "refund" } else { "payment" });
            match n % 6 {
                0 | 2 => writeln!(payments, "{n},{deal},,{day},{amount}.50,{kind}").unwrap(),
                4 => writeln!(payments, ",,c{},{day},{amount},", n % 5).unwrap(),
                3 => {
                    for owner in ["owner_a", "owner_b", "owner_c"] {
                        writeln!(splits, "{deal},{owner},0.333333333").unwrap();
                    }
                }
                _ => writeln!(payments, "{n},{deal},,{day}T23:30:00Z,{amount},").unwrap(),
            }
        }
        self.scratch.write("made/payments.csv", &payments);
        self.scratch.write("made/splits.csv", &splits);
    }

    /// As [`Self::hive`], but without payments, so that customers are made of won deals, and with
    /// every deal known from its start.
    pub(crate) fn hive_of_deals(&self) -> Resolved {
        let text = self.config("made/deal_events", "as_of = \"2020-02-29\"", "");
        self.scratch.resolve(&text.replace(PAYMENTS, "").replace(HISTORY_FROM, "")).unwrap()
    }

    /// A configuration over events at `path` below the scratch folder; `run` and `input` are more
    /// lines of these sections.
    pub(crate) fn config(&self, path: &str, run: &str, input: &str) -> String {
        format!(
            r#"
            [run]
            periods = ["month", "quarter", "week"]
            {HISTORY_FROM}
            {run}
            [pipeline]
            stages = ["lead", "qualified", "proposal", "negotiation"]
            won = ["won"]
            lost = ["lost"]
            [dimensions]
            columns = ["region", "source", "team"]
            slices = [[], ["region"], ["source"], ["team"], ["region", "source"]]
            strata = ["source", "team"]
            from = {{ team = "users.team" }}
            [funnels.sales]
            steps = ["lead", {{ stages = ["qualified", "proposal"], is_optional = true }}, "won"]
            window = "90 days"
            reentry = "every"
            breakdown = "first_step"
            [inputs.deal_events]
            path = "{path}"
            {input}
            [inputs.spend]
            path = "made/spend"
            [inputs.users]
            path = "made/owners.parquet"
            shape = "lookup"
            key = "owner_id"
            columns = {{ key = "owner_id" }}
            {PAYMENTS}
            [inputs.deal_splits]
            path = "made/splits.csv"
            [inputs.targets]
            path = "made/targets.csv"
            [inputs.surveys]
            path = "made/surveys.csv"
            [inputs.touches]
            path = "made/touches.csv"
            [inputs.contracts]
            path = "made/contracts.csv"
            [commission]
            period = "quarter"
            tiers = [{{ from = 0.0, rate = 0.05 }}, {{ from = 0.5, rate = 0.1 }}]
            [kpi.wins]
            table = "revenue"
            column = "net_amount"
            target = 5000.0
            {CUSTOM}
            "#
        )
    }

    /// Events as generated, in monthly hive partitions, up to the middle of the history.
    pub(crate) fn hive(&self, run: &str) -> Resolved {
        let run = format!("as_of = \"2020-02-29\"\n{run}");
        self.scratch.resolve(&self.config("made/deal_events", &run, "")).unwrap()
    }

    /// Writes rows as a Parquet file below the scratch folder.
    pub(crate) fn write(&self, path: &str, rows: &RecordBatch) {
        let schema = rows.schema();
        let names = schema.fields().iter().map(|f| f.name().as_str());
        let columns: Vec<(&str, ArrayRef)> = names.zip(rows.columns().iter().cloned()).collect();
        self.scratch.parquet(path, &columns, 500);
    }

    /// The events in an order made of a seed.
    pub(crate) fn shuffled(&self, seed: u64) -> RecordBatch {
        let mut order: Vec<u32> = (0..self.events.num_rows() as u32).collect();
        order.shuffle(&mut rand_pcg::Pcg64::seed_from_u64(seed));
        take_record_batch(&self.events, &UInt32Array::from(order)).unwrap()
    }
}

/// Writes tables about the customers and owners of every seventh event, and some of nobody.
fn write_tables(scratch: &Scratch, events: &RecordBatch) {
    let column = |name: &str| cast(events.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
    let (customers, owners) = (column("customer_id"), column("owner_id"));
    let (customers, owners) = (customers.as_string::<i32>(), owners.as_string::<i32>());
    let mut targets = String::from("owner_id,team_id,period_start,period_end,target\n");
    let mut surveys = String::from("response_id,customer_id,at,kind,score\n");
    let mut touches = String::from("customer_id,lead_id,at,channel,campaign_id\n");
    let mut contracts = String::from("customer_id,start,end,mrr\n");
    for row in (0..events.num_rows()).step_by(7) {
        let (customer, owner) = (customers.value(row), owners.value(row));
        let (month, day) = (row % 12 + 1, row % 28 + 1);
        let on = format!("2019-{month:02}-{day:02}");
        let later = format!("2020-{month:02}-{day:02}");
        targets += &format!("{owner},,2019-{month:02}-01,2020-{month:02}-01,{row}.25\n");
        let (kind, score) = [("nps", row % 11), ("csat", row % 5 + 1)][row / 7 % 2];
        surveys += &format!("{},{customer},{on},{kind},{score}\n", row / 9);
        touches += &format!("{customer},,{on},{},c{}\n", ["referral", "fair"][row % 2], row % 3);
        touches += &format!(",lead{},{later},,\n", row % 40);
        contracts += &format!("{customer},{on},{later},{row}\n");
    }
    targets += ",north,2019-01-01,2020-01-01,99\n,,2019-01-01,2020-01-01,999\n";
    surveys += "x,,2019-05-01,nps,3\ny,nobody,2019-05-01,ces,\n";
    for (name, text) in
        [("targets", targets), ("surveys", surveys), ("touches", touches), ("contracts", contracts)]
    {
        scratch.write(&format!("made/{name}.csv"), &text);
    }
}

/// Dictionary columns as text.
pub(crate) fn plain(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = match column.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8).unwrap(),
            _ => Arc::clone(column),
        };
        (field.name().clone(), column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Every Parquet file below a folder, sorted.
pub(crate) fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Everything computed in process, nothing published.
pub(crate) struct Computed {
    pub history: History,
    pub tables: Vec<Table>,
}

/// Reads and folds the inputs.
pub(crate) fn read(resolved: &Resolved) -> (History, Ledger) {
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let history = run::read_history(resolved, &ledger, &|_| (), &mut Vec::new()).unwrap();
    (history, ledger)
}

pub(crate) fn plan(resolved: &Resolved, execution: Execution, backend: Backend) -> Plan {
    Plan {
        dimensions: resolved.config.dimensions.columns.clone(),
        people: run::people(&resolved.config),
        slices: resolved.slices.clone(),
        periods: resolved.periods.clone(),
        tables: resolved.tables.clone(),
        calendar: resolved.calendar,
        execution,
        backend,
    }
}

/// The metrics that are made of relations; what is left is made of finished tables.
pub(crate) fn stated() -> Vec<&'static Metric> {
    REGISTRY.iter().copied().filter(|metric| !metric.states.is_empty()).collect()
}

/// Every table of the registry and of the configuration.
pub(crate) fn tables(
    resolved: &Resolved,
    history: &History,
    execution: Execution,
    backend: Backend,
) -> Vec<Table> {
    let plan = plan(resolved, execution, backend);
    let settings = history.settings(resolved);
    let custom = &resolved.config.metrics;
    let outcome = engine::compute(&history.relations, &stated(), custom, &plan, &settings).unwrap();
    outcome.tables
}

/// In one piece and in memory.
pub(crate) fn compute(resolved: &Resolved) -> Computed {
    let (history, _) = read(resolved);
    let tables = tables(resolved, &history, Execution::Whole, Backend::Memory);
    Computed { history, tables }
}

/// Cell for cell.
#[track_caller]
pub(crate) fn check_equal(expected: &[Table], found: &[Table], what: &str) {
    assert_eq!(expected.len(), found.len(), "{what}");
    for (a, b) in expected.iter().zip(found) {
        assert_eq!(a.name, b.name, "{what}");
        assert!(a.whole().unwrap() == b.whole().unwrap(), "{what}: the table {:?} differs", a.name);
    }
}
