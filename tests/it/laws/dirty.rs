//! Small histories of anything at all: unknown stages and types, ties, duplicates, nulls, deletions,
//! re-opens, events long after the end. Made of a literal seed; a failing one is made smaller.

use std::fmt::Write as _;

use dealmill::config::Resolved;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::Scratch;

/// One row as it stands in the file; an empty text is null.
#[derive(Clone)]
pub(crate) struct Row {
    pub deal: &'static str,
    /// Minutes since 2024-01-01T00:00:00Z.
    pub minute: Option<i64>,
    pub kind: &'static str,
    pub stage: &'static str,
    pub amount: &'static str,
    pub owner: &'static str,
    pub customer: &'static str,
    pub region: &'static str,
    /// Days since 2024-01-01.
    pub close: Option<i64>,
    pub seq: Option<i64>,
    pub event: &'static str,
    pub ingested: Option<i64>,
}

impl std::fmt::Debug for Row {
    /// Its line in the file with every column, so that a failure can be read at a glance.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line(Seq::Given, EventIds::Given))
    }
}

/// Which optional columns the file has, and which alternatives the configuration chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub seq: Seq,
    pub ids: EventIds,
    pub ties: &'static str,
    pub deleted: &'static str,
    pub cycle_start: &'static str,
    pub cycle_end: &'static str,
    pub dimension_at: &'static str,
    pub resolution: &'static str,
    pub zone: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seq {
    Given,
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventIds {
    Given,
    Absent,
}

const DEFAULT: Shape = Shape {
    seq: Seq::Absent,
    ids: EventIds::Absent,
    ties: "forward",
    deleted: "exclude",
    cycle_start: "created",
    cycle_end: "first_close",
    dimension_at: "close",
    resolution: "hour",
    zone: "UTC",
};

impl Shape {
    pub(crate) const EVERY: [Self; 6] = [
        DEFAULT,
        Self { seq: Seq::Given, ids: EventIds::Given, deleted: "keep_until_deleted", ..DEFAULT },
        Self { ties: "source_order", dimension_at: "as_of", resolution: "day", ..DEFAULT },
        Self { ids: EventIds::Given, deleted: "as_lost", zone: "Asia/Shanghai", ..DEFAULT },
        Self {
            deleted: "keep_until_deleted",
            cycle_start: "first_stage",
            cycle_end: "final",
            resolution: "minute",
            ..DEFAULT
        },
        Self {
            seq: Seq::Given,
            ties: "reject",
            dimension_at: "created",
            cycle_end: "final",
            resolution: "day",
            zone: "Asia/Shanghai",
            ..DEFAULT
        },
    ];
}

/// The last minute that exists: 2024-03-15T00:00:00Z.
pub(crate) const AS_OF: i64 = 74 * 1440;

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Few deals, days and times, so that ties and duplicates are common.
    let deal = prop_oneof![
        30 => select(&["d1", "d2", "d3", "d4", "d5"][..]),
        1 => Just(""),
    ];
    let minute = prop_oneof![
        30 => (0..82_i64, select(&[0_i64, 700, 1439][..])).prop_map(|(d, m)| Some(d * 1440 + m)),
        1 => Just(None),
    ];
    let kind = prop_oneof![
        20 => Just("stage"),
        3 => select(&["created", "won", "lost"][..]),
        4 => select(&["reopened", "deleted", "restored", "merged"][..]),
        3 => select(&["amount", "owner", "attribute", ""][..]),
        1 => Just("nonsense"),
    ];
    let stage = prop_oneof![
        15 => select(&["s1", "s2", "s3", "one"][..]),
        6 => select(&["won", "signed", "lost"][..]),
        3 => select(&["mystery", "parked", ""][..]),
    ];
    let amount = select(&["", "", "100", "250.50", "0", "-40", "n/a"][..]);
    let owner = select(&["", "ann", "bob"][..]);
    let customer = select(&["", "c1", "c2", "c3"][..]);
    let region = select(&["", "north", "south"][..]);
    let close = prop_oneof![Just(None), (60..90_i64).prop_map(Some)];
    let seq = prop_oneof![Just(None), (0..3_i64).prop_map(Some)];
    let event = select(&["", "", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8"][..]);
    let ingested = prop_oneof![Just(None), (0..3_i64).prop_map(Some)];
    let row =
        (deal, minute, kind, stage, amount, owner, customer, region, close, seq, event, ingested);
    let row = row.prop_map(
        |(
            deal,
            minute,
            kind,
            stage,
            amount,
            owner,
            customer,
            region,
            close,
            seq,
            event,
            ingested,
        )| Row {
            deal,
            minute,
            kind,
            stage,
            amount,
            owner,
            customer,
            region,
            close,
            seq,
            event,
            ingested,
        },
    );
    proptest::collection::vec(row, 1..60)
}

/// Checks a property on made-up histories of each shape: a few, or many where `DEALMILL_SLOW` is
/// set. What fails is made smaller and printed with the seed.
#[track_caller]
pub(crate) fn check_many(seed: u8, shapes: &[Shape], property: impl Fn(&[Row], &Shape)) {
    let cases = if std::env::var_os("DEALMILL_SLOW").is_some() { 300 } else { 8 };
    for shape in shapes {
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 1_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let result = runner.run(&rows(), |rows| {
            property(&rows, shape);
            Ok(())
        });
        if let Err(failure) = result {
            panic!("seed {seed}, {shape:#?}\n{failure}");
        }
    }
}

pub(crate) fn instant(minute: i64) -> String {
    let start = chrono::DateTime::parse_from_rfc3339("2024-01-01T00:00:00Z").unwrap();
    let at = start + chrono::Duration::minutes(minute);
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

impl Row {
    fn line(&self, seq: Seq, ids: EventIds) -> String {
        let number = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
        let time = self.minute.map_or_else(String::new, instant);
        let close = self.close.map_or_else(String::new, |d| instant(d * 1440)[..10].to_owned());
        let Self { deal, kind, stage, amount, owner, customer, region, .. } = self;
        let mut line =
            format!("{deal},{time},{kind},{stage},{amount},{owner},{customer},{region},{close}");
        if seq == Seq::Given {
            write!(line, ",{}", number(self.seq)).unwrap();
        }
        if ids == EventIds::Given {
            let ingested = self.ingested.map_or_else(String::new, instant);
            write!(line, ",{},{ingested}", self.event).unwrap();
        }
        line
    }
}

/// The rows as text.
fn csv(rows: &[Row], shape: &Shape) -> String {
    let mut text = String::from(
        "deal_id,event_time,event_type,stage_id,amount,owner_id,customer_id,region,expected_close",
    );
    let with_seq = shape.seq == Seq::Given;
    let with_ids = shape.ids == EventIds::Given;
    text.push_str(if with_seq { ",seq" } else { "" });
    text.push_str(if with_ids { ",event_id,ingested_at" } else { "" });
    text.push('\n');
    for row in rows {
        text.push_str(&row.line(shape.seq, shape.ids));
        text.push('\n');
    }
    text
}

/// Writes the rows and the configuration of their shape; the dimension `tag` is the deal itself.
pub(crate) fn resolve(scratch: &Scratch, rows: &[Row], shape: &Shape) -> Resolved {
    scratch.write("events.csv", &csv(rows, shape));
    scratch.write("spend.csv", "date,channel,amount\n2024-01-05,north,100\n2024-02-05,,50\n");
    let Shape { ties, deleted, cycle_start, cycle_end, dimension_at, resolution, zone, .. } = shape;
    let text = format!(
        r#"
        [run]
        as_of = "{}"
        timezone = "{zone}"
        resolution = "{resolution}"
        periods = ["month"]
        [pipeline]
        stages = ["s1", "s2", "s3"]
        won = ["won", "signed"]
        lost = ["lost"]
        ignored = ["parked"]
        aliases = {{ one = "s1" }}
        [dimensions]
        columns = ["tag", "region"]
        slices = [[], ["region"]]
        at = "{dimension_at}"
        [fold]
        ties = "{ties}"
        deleted = "{deleted}"
        cycle_start = "{cycle_start}"
        cycle_end = "{cycle_end}"
        [acquisition]
        channel = "region"
        [forecast]
        segment = "region"
        {}
        [inputs.deal_events]
        path = "events.csv"
        columns = {{ tag = "deal_id" }}
        [inputs.spend]
        path = "spend.csv"
        "#,
        instant(AS_OF),
        crate::oracle::funnels::TOML,
    );
    scratch.resolve(&text).unwrap()
}
