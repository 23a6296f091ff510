//! Claims about generated histories, checked on what is read back from the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::config::{Config, Shape};
use crate::time::{MICROS_PER_DAY, to_date};

/// 2023-01-01, the first month of the sample.
const YEAR_2023: Day = 19_358;

/// One row as read back; the amount in cents.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    at: i64,
    deal: String,
    customer: String,
    owner: String,
    region: String,
    source: Option<String>,
    stage: String,
    amount: Option<i128>,
}

fn options(deals: u64, seed: u64, out: PathBuf) -> GenerateOptions {
    GenerateOptions { start: YEAR_2023, months: 24, ..GenerateOptions::new(deals, seed, out) }
}

/// The options of `data/sample`.
fn sample_options(out: PathBuf) -> GenerateOptions {
    options(2_000, 7, out)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Every file below a folder by its relative path, with its bytes; published runs left out.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if name == Path::new("out") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(name, bytes);
            }
        }
    }
    found
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap();
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return numbers.iter().map(|n| n.map(|n| n.to_string())).collect();
    }
    column.as_string::<i32>().iter().map(|t| t.map(str::to_owned)).collect()
}

fn rows_of(path: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches(path) {
        let at = batch.column_by_name("event_time").unwrap();
        let at = at.as_primitive::<TimestampMicrosecondType>();
        let amount = batch.column_by_name("amount").unwrap().as_primitive::<Decimal128Type>();
        let [deal, customer, owner, region, source, stage] =
            ["deal_id", "customer_id", "owner_id", "region", "source", "stage_id"]
                .map(|name| texts(&batch, name));
        for i in 0..batch.num_rows() {
            rows.push(Row {
                at: at.value(i),
                deal: deal[i].clone().unwrap(),
                customer: customer[i].clone().unwrap(),
                owner: owner[i].clone().unwrap(),
                region: region[i].clone().unwrap(),
                source: source[i].clone(),
                stage: stage[i].clone().unwrap(),
                amount: amount.is_valid(i).then(|| amount.value(i)),
            });
        }
    }
    rows
}

/// Files of the deal events with their rows.
fn months(out: &Path) -> BTreeMap<PathBuf, Vec<Row>> {
    let names = contents(out).into_keys().filter(|p| p.starts_with("deal_events"));
    names.map(|name| (name.clone(), rows_of(&out.join(&name)))).collect()
}

/// Rows by deal, in order of time.
fn deals(out: &Path) -> BTreeMap<String, Vec<Row>> {
    let mut deals: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in months(out).into_values().flatten() {
        deals.entry(row.deal.clone()).or_default().push(row);
    }
    for rows in deals.values_mut() {
        rows.sort_by_key(|r| r.at);
    }
    deals
}

fn order(stage: &str) -> Option<usize> {
    ["lead", "qualified", "proposal", "negotiation"].iter().position(|s| *s == stage)
}

/// Asserts that `part` of `whole` is a share within a band.
#[track_caller]
fn check_share(what: &str, part: usize, whole: usize, band: std::ops::Range<f64>) {
    let share = part as f64 / whole as f64;
    assert!(band.contains(&share), "{what}: {part} of {whole} = {share:.4}, expected {band:?}");
}

#[track_caller]
fn check_same(left: &Path, right: &Path) {
    let (left, right) = (contents(left), contents(right));
    let names = |c: &BTreeMap<PathBuf, Vec<u8>>| c.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for (name, bytes) in &left {
        assert!(right.get(name) == Some(bytes), "{} differs", name.display());
    }
}

#[test]
fn same_seed_gives_same_bytes_on_any_number_of_threads() {
    // More deals than a block holds, so that two threads have something to share.
    let temp = folder();
    for (name, threads) in [("one", Some(1)), ("two", Some(2)), ("all", None)] {
        let options = options(20_000, 11, temp.path().join(name));
        generate(&GenerateOptions { threads, ..options }).unwrap();
    }
    check_same(&temp.path().join("one"), &temp.path().join("two"));
    check_same(&temp.path().join("one"), &temp.path().join("all"));
}

#[test]
fn another_seed_gives_other_histories() {
    let temp = folder();
    for seed in [1, 2] {
        generate(&options(500, seed, temp.path().join(seed.to_string()))).unwrap();
    }
    let rows = |seed: &str| months(&temp.path().join(seed)).into_values().flatten().collect();
    let (one, two): (Vec<Row>, Vec<Row>) = (rows("1"), rows("2"));
    assert_ne!(one, two);
}

#[test]
fn every_deal_is_there_and_begins_as_a_lead() {
    let temp = folder();
    let made = generate(&options(5_000, 3, temp.path().join("made"))).unwrap();
    let deals = deals(&made.out);
    assert_eq!(deals.len(), 5_000);
    assert_eq!(made.events, deals.values().map(|d| d.len() as u64).sum::<u64>());
    let customers: BTreeSet<&str> = deals.values().map(|d| d[0].customer.as_str()).collect();
    assert_eq!(made.customers, customers.len() as u64);
    for (deal, rows) in &deals {
        assert_eq!(rows[0].stage, "lead", "deal {deal}");
        for pair in rows.windows(2) {
            assert!(pair[0].at < pair[1].at, "deal {deal} has two events at one instant");
            assert_ne!(pair[0].stage, pair[1].stage, "deal {deal} enters a stage it is in");
            assert_eq!(pair[0].customer, pair[1].customer, "deal {deal} changes its customer");
        }
    }
}

#[test]
fn rows_lie_in_the_partition_of_their_month_and_in_order_of_time() {
    let temp = folder();
    let made = generate(&options(3_000, 5, temp.path().join("made"))).unwrap();
    let months = months(&made.out);
    assert_eq!(months.len(), 24);
    assert_eq!(made.files, 24);
    for (path, rows) in months {
        for row in &rows {
            let day = to_date((row.at / MICROS_PER_DAY) as Day).unwrap();
            let wanted = format!("deal_events/{}/part-0.parquet", day.format("year=%Y/month=%m"));
            assert_eq!(path, Path::new(&wanted));
        }
        assert!(rows.is_sorted_by_key(|r| r.at), "{}", path.display());
    }
}

#[test]
fn a_large_month_has_several_row_groups_each_in_order_of_time() {
    let temp = folder();
    let options = GenerateOptions { months: 2, ..options(200_000, 5, temp.path().join("made")) };
    let made = generate(&options).unwrap();
    let mut rows_n = 0;
    for (path, rows) in months(&made.out) {
        assert!(rows.len() > files::ROW_GROUP_ROWS, "{}", path.display());
        rows_n += rows.len() as u64;
        for group in rows.chunks(files::ROW_GROUP_ROWS) {
            assert!(group.is_sorted_by_key(|r| r.at), "{}", path.display());
        }
    }
    assert_eq!(rows_n, made.events);
}

#[test]
fn histories_have_the_traits_of_real_ones_in_the_stated_shares() {
    // The bands are those of data/README.md.
    let temp = folder();
    let made = generate(&GenerateOptions::new(40_000, 2, temp.path().join("made"))).unwrap();
    let deals = deals(&made.out);
    let n = deals.len();
    let count = |has: &dyn Fn(&[Row]) -> bool| deals.values().filter(|d| has(d)).count();
    let moves = |d: &[Row], is: &dyn Fn(&str, &str) -> bool| {
        d.windows(2).any(|p| is(&p[0].stage, &p[1].stage))
    };
    let last = |d: &[Row], stage: &str| d.last().unwrap().stage == stage;

    check_share("events a deal, in tens", made.events as usize, 10 * n, 0.31..0.34);
    check_share("won", count(&|d| last(d, "won")), n, 0.18..0.28);
    check_share("lost", count(&|d| last(d, "lost")), n, 0.40..0.60);
    let skips = |a: &str, b: &str| match (order(a), order(b)) {
        (Some(a), Some(b)) => b > a + 1,
        (Some(a), None) => b == "won" && a < 3,
        _ => false,
    };
    check_share("with a skip", count(&|d| moves(d, &skips)), n, 0.06..0.14);
    let regresses = |a: &str, b: &str| order(a).zip(order(b)).is_some_and(|(a, b)| b < a);
    check_share("with a regression", count(&|d| moves(d, &regresses)), n, 0.03..0.09);
    let reopens = |a: &str, b: &str| order(a).is_none() && order(b).is_some();
    check_share("re-opened", count(&|d| moves(d, &reopens)), n, 0.01..0.03);
    let end = made_end();
    let stalled = |d: &[Row]| {
        let row = d.last().unwrap();
        order(&row.stage).is_some() && row.at < end - 365 * MICROS_PER_DAY
    };
    check_share("open for a year", count(&stalled), n, 0.10..0.25);
    check_share(
        "no amount at the end",
        count(&|d| d.last().unwrap().amount.is_none()),
        n,
        0.005..0.08,
    );
    check_share("zero", count(&|d| d.last().unwrap().amount == Some(0)), n, 0.004..0.010);
    check_share(
        "refund",
        count(&|d| d[0].amount < Some(0) && d[0].amount.is_some()),
        n,
        0.003..0.008,
    );
    check_share("no source", count(&|d| d[0].source.is_none()), n, 0.007..0.013);
    let owners = |d: &[Row]| d.windows(2).any(|p| p[0].owner != p[1].owner);
    check_share("handed over", count(&owners), n, 0.03..0.09);
}

/// The end of six years from 2019.
fn made_end() -> i64 {
    20_089 * MICROS_PER_DAY
}

#[test]
fn some_customers_come_back_many_times() {
    let temp = folder();
    let made = generate(&GenerateOptions::new(40_000, 2, temp.path().join("made"))).unwrap();
    let mut per_customer: BTreeMap<String, usize> = BTreeMap::new();
    let deals = deals(&made.out);
    for rows in deals.values() {
        *per_customer.entry(rows[0].customer.clone()).or_default() += 1;
    }
    let n = per_customer.len();
    let mut sizes: Vec<usize> = per_customer.into_values().collect();
    sizes.sort_unstable();
    check_share("customers to deals", n, deals.len(), 0.50..0.70);
    check_share("customers with one deal", sizes.iter().filter(|s| **s == 1).count(), n, 0.5..0.75);
    let top: usize = sizes.iter().rev().take(n / 100).sum();
    check_share("deals of the top 1 % of customers", top, deals.len(), 0.05..0.20);
    assert!(sizes.last() >= Some(&15), "largest customer: {:?}", sizes.last());
}

#[test]
fn creation_grows_and_has_seasons() {
    let temp = folder();
    let made = generate(&GenerateOptions::new(40_000, 2, temp.path().join("made"))).unwrap();
    let mut created: BTreeMap<String, usize> = BTreeMap::new();
    for rows in deals(&made.out).values() {
        let day = to_date((rows[0].at / MICROS_PER_DAY) as Day).unwrap();
        *created.entry(day.format("%Y-%m").to_string()).or_default() += 1;
        *created.entry(day.format("%Y").to_string()).or_default() += 1;
    }
    // 1.15 to the fifth is 2.01.
    check_share("2024 to 2019", created["2024"], created["2019"], 1.7..2.4);
    check_share("August to October 2023", created["2023-08"], created["2023-10"], 0.55..0.92);
}

#[test]
fn ids_are_integers_or_text_of_fourteen_characters() {
    let temp = folder();
    let int = generate(&options(400, 9, temp.path().join("int"))).unwrap();
    let text = GenerateOptions { ids: Ids::String, ..options(400, 9, temp.path().join("text")) };
    let text = generate(&text).unwrap();
    let (int, text) = (deals(&int.out), deals(&text.out));
    let numbers: BTreeSet<u64> = int.keys().map(|id| id.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=400).collect());
    assert_eq!(text.len(), 400);
    for rows in text.values() {
        assert_eq!((rows[0].deal.len(), &rows[0].deal[..1]), (14, "D"));
        assert_eq!((rows[0].customer.len(), &rows[0].customer[..1]), (14, "C"));
    }
    // The form of the ids is the only difference: the same times in both.
    let times = |deals: &BTreeMap<String, Vec<Row>>| {
        let mut times: Vec<i64> = deals.values().flatten().map(|r| r.at).collect();
        times.sort_unstable();
        times
    };
    assert_eq!(times(&int), times(&text));
}

#[test]
fn owners_are_listed_with_the_region_their_deals_are_in() {
    let temp = folder();
    let made = generate(&options(1_000, 4, temp.path().join("made"))).unwrap();
    let mut regions = BTreeMap::new();
    for batch in batches(&made.out.join("owners.parquet")) {
        let (ids, homes) = (texts(&batch, "owner_id"), texts(&batch, "region"));
        regions.extend(ids.into_iter().zip(homes));
        assert!(texts(&batch, "team").iter().all(Option::is_some));
    }
    for row in deals(&made.out).into_values().flatten() {
        assert_eq!(regions[&Some(row.owner)], Some(row.region));
    }
}

#[test]
fn every_month_and_source_has_spend() {
    let temp = folder();
    let made = generate(&options(1_000, 4, temp.path().join("made"))).unwrap();
    let mut channels: BTreeMap<Option<String>, i128> = BTreeMap::new();
    for batch in batches(&made.out.join("spend/part-0.parquet")) {
        let amount = batch.column_by_name("amount").unwrap().as_primitive::<Decimal128Type>();
        for (channel, amount) in texts(&batch, "channel").into_iter().zip(amount.values()) {
            *channels.entry(channel).or_default() += amount;
        }
    }
    let sources: BTreeSet<Option<String>> =
        deals(&made.out).into_values().flatten().map(|r| r.source).collect();
    // An unknown source pairs with spend that no channel can claim.
    assert_eq!(channels.keys().cloned().collect::<BTreeSet<_>>(), sources);
    assert!(channels.values().all(|amount| *amount > 0));
}

#[test]
fn the_configuration_beside_the_data_is_valid_and_finds_it() {
    let temp = folder();
    let made = generate(&options(100, 4, temp.path().join("made"))).unwrap();
    let text = std::fs::read_to_string(&made.config).unwrap();
    let config: Config = toml::from_str(&text).unwrap();
    assert_eq!(config.run.as_of.as_deref(), Some("2025-01-01T00:00:00Z"));
    assert_eq!(config.inputs["users"].shape, Shape::Lookup);
    for input in config.inputs.values() {
        assert!(made.out.join(&input.path).exists(), "{}", input.path.display());
    }
}

#[test]
fn the_smallest_history_is_one_lead_in_the_month_of_the_start() {
    let temp = folder();
    let made = GenerateOptions { months: 1, ..options(1, 4, temp.path().join("made")) };
    // 2023-01-20 lies in January 2023.
    let made = generate(&GenerateOptions { start: YEAR_2023 + 19, ..made }).unwrap();
    let months = months(&made.out);
    let path = PathBuf::from("deal_events/year=2023/month=01/part-0.parquet");
    assert_eq!(months.keys().collect::<Vec<_>>(), [&path]);
    assert_eq!(months[&path][0].stage, "lead");
    assert_eq!((made.customers, made.files), (1, 1));
}

#[test]
fn a_folder_of_somebody_elses_is_refused_and_left_alone() {
    let temp = folder();
    std::fs::write(temp.path().join("thesis.txt"), "ten years").unwrap();
    let error = generate(&options(100, 4, temp.path().to_owned())).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    let names: Vec<PathBuf> = contents(temp.path()).into_keys().collect();
    assert_eq!(names, [PathBuf::from("thesis.txt")]);
}

#[test]
fn generating_again_replaces_its_own_files_only() {
    let temp = folder();
    let out = temp.path().join("made");
    generate(&GenerateOptions { months: 30, ..options(300, 1, out.clone()) }).unwrap();
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    generate(&options(200, 2, out.clone())).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
    assert_eq!(months(&out).len(), 24);
    assert_eq!(deals(&out).len(), 200);
    // Nothing temporary stays beside it.
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn options_that_cannot_be_met_are_named_together() {
    let temp = folder();
    let wrong =
        GenerateOptions { months: 0, ..GenerateOptions::new(0, 1, temp.path().join("made")) };
    let error = generate(&wrong).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(matches!(error, Error::Config(problems) if problems.len() == 2));
    assert!(!temp.path().join("made").exists());
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join("sample")
}

#[test]
fn the_sample_comes_out_of_its_seed() {
    let temp = folder();
    let out = temp.path().join("sample");
    generate(&sample_options(out.clone())).unwrap();
    // On request, after a change of the generator; never in CI.
    if std::env::var_os("DEALMILL_UPDATE").is_some() && std::env::var_os("CI").is_none() {
        generate(&sample_options(sample())).unwrap();
    }
    check_same(&sample(), &out);
    let bytes: usize = contents(&out).values().map(Vec::len).sum();
    assert!(bytes < 2_000_000, "{bytes} bytes");
}
