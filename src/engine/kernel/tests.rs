//! Sums against a plain map, and expressions against what SQL says of nulls.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::groups::{Kept, Sorted};
use super::*;
use crate::engine::runs::append;
use crate::engine::sql::StateQuery;
use crate::relations::fixture::Fixture;
use crate::spill::{Scratch, SpillFile};

type Rows = Vec<(Vec<i64>, Vec<i64>)>;

/// What a map makes of the rows: a sum, a minimum, a maximum and a count a key.
fn by_map(rows: &[(Vec<i64>, i64)]) -> Rows {
    let mut map: BTreeMap<Vec<i64>, [i64; 4]> = BTreeMap::new();
    for (key, value) in rows {
        let sums = map.entry(key.clone()).or_insert([0, i64::MAX, i64::MIN, 0]);
        *sums = [sums[0] + value, sums[1].min(*value), sums[2].max(*value), sums[3] + 1];
    }
    map.into_iter().map(|(key, sums)| (key, sums.to_vec())).collect()
}

fn groups(rows: &[(Vec<i64>, i64)], keys: usize) -> Groups {
    let merges = vec![Merge::Sum, Merge::Min, Merge::Max, Merge::Sum];
    let mut groups = Groups::new(&vec![None; keys], merges);
    for block in rows.chunks(BLOCK) {
        let columns: Vec<Vec<i64>> =
            (0..keys).map(|k| block.iter().map(|(key, _)| key[k]).collect()).collect();
        let columns: Vec<&[i64]> = columns.iter().map(Vec::as_slice).collect();
        let values: Vec<i64> = block.iter().map(|(_, value)| *value).collect();
        let values = values.as_slice();
        let values = [Some(values), Some(values), Some(values), None];
        groups.add(&columns, &values, None, block.len()).unwrap();
    }
    groups
}

fn layout() -> Layout {
    let merges = [Merge::Sum, Merge::Min, Merge::Max, Merge::Sum];
    let values = merges.map(|merge| (format!("{merge:?}"), merge)).to_vec();
    Layout { what: String::new(), dimensions: 0, keys: vec!["a".into(), "b".into()], values }
}

fn rows_of(groups: Groups) -> Rows {
    let rows = groups.len();
    let (keys, values) = groups.into_columns();
    let row = |columns: &[Vec<i64>], row: usize| columns.iter().map(|c| c[row]).collect();
    (0..rows).map(|r| (row(&keys, r), row(&values, r))).collect()
}

/// Small keys that repeat, wide ones, and null.
fn key() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -3..4_i64,
        2 => -1_000_000..1_000_000_i64,
        1 => any::<i64>(),
        1 => Just(NULL),
    ]
}

fn kept(rows: &[(Vec<i64>, i64)]) -> Kept {
    let mut kept = Kept::new(&[None; 4]);
    for block in rows.chunks(100) {
        let column = |k: usize| block.iter().map(|(key, _)| key[k]).collect::<Vec<i64>>();
        let values = block.iter().map(|(_, value)| *value).collect();
        let columns = [column(0), column(1), column(2), values];
        let columns: Vec<&[i64]> = columns.iter().map(Vec::as_slice).collect();
        kept.add(&columns, None, block.len());
    }
    kept
}

/// Keys of which three fit into a word.
fn narrow_key() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -3..4_i64, 2 => -3_000..3_000_i64, 1 => Just(NULL)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn groups_are_those_of_a_sorted_map(
        rows in prop::collection::vec((prop::collection::vec(key(), 3), -1000..1000_i64), 0..3000),
    ) {
        prop_assert_eq!(rows_of(groups(&rows, 3)), by_map(&rows));
    }

    #[test]
    fn kept_rows_of_a_slice_are_those_of_a_sorted_map(
        rows in prop::collection::vec(
            (prop::collection::vec(narrow_key(), 3), -1000..1000_i64),
            1..3000,
        ),
        split in 0.0..1.0_f64,
    ) {
        let (a, b) = rows.split_at((rows.len() as f64 * split) as usize);
        let sorted = Sorted::of(&[kept(a), kept(b)], 2..3).unwrap();
        let merges =
            [(Merge::Sum, Some(3)), (Merge::Min, Some(3)), (Merge::Max, Some(3)), (Merge::Sum, None)];
        // By the second column, then the first; the third is the key.
        let (keys, values) = sorted.groups(&[1, 0], &merges).unwrap();
        let row = |columns: &[Vec<i64>], row: usize| columns.iter().map(|c| c[row]).collect();
        let found: Rows = (0..keys[0].len()).map(|r| (row(&keys, r), row(&values, r))).collect();
        let turned: Vec<(Vec<i64>, i64)> =
            rows.iter().map(|(k, value)| (vec![k[1], k[0], k[2]], *value)).collect();
        prop_assert_eq!(found, by_map(&turned));
    }

    #[test]
    fn kept_rows_are_poured_out_as_they_came(
        rows in prop::collection::vec((prop::collection::vec(key(), 3), -1000..1000_i64), 0..1000),
    ) {
        let mut poured = Vec::new();
        kept(&rows).pour(64, |columns, n| {
            let key = |row: usize| (0..3).map(|k| columns[k][row]).collect();
            poured.extend((0..n).map(|row| (key(row), columns[3][row])));
            Ok::<(), ()>(())
        }).unwrap();
        prop_assert_eq!(poured, rows);
    }

    #[test]
    fn absorbing_is_adding_the_rows_of_both(
        rows in prop::collection::vec((prop::collection::vec(key(), 2), -1000..1000_i64), 0..2000),
        split in 0.0..1.0_f64,
    ) {
        let (a, b) = rows.split_at((rows.len() as f64 * split) as usize);
        let mut all = groups(a, 2);
        all.absorb(&groups(b, 2)).unwrap();
        prop_assert_eq!(rows_of(all), by_map(&rows));
        // And where some of them were written meanwhile.
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(&Scratch::within(folder.path())).unwrap();
        let file = Arc::new(file);
        let mut all = groups(a, 2);
        let runs = vec![all.write(&layout(), &file).unwrap(), groups(b, 2).write(&layout(), &file).unwrap()];
        prop_assert_eq!(all.len(), 0);
        let source = Source::new(layout(), &file, runs).unwrap();
        let mut found = layout().rows(vec![Vec::new(); 2], vec![Vec::new(); 4]);
        source.stream().for_each(|rows| append(&mut found, rows.unwrap()));
        let row = |columns: &[(String, Vec<i64>)], row: usize| columns.iter().map(|(_, c)| c[row]).collect();
        let found: Rows = (0..found.rows).map(|r| (row(&found.keys, r), row(&found.values, r))).collect();
        prop_assert_eq!(found, by_map(&rows));
    }
}

#[test]
fn a_sum_beyond_64_bits_is_refused() {
    let mut groups = Groups::new(&[None], vec![Merge::Sum]);
    groups.add(&[&[1]], &[Some(&[i64::MAX])], None, 1).unwrap();
    assert_eq!(groups.add(&[&[1]], &[Some(&[1])], None, 1), Err(Overflow(0)));
}

/// The value of an expression over the rows of a small relation of deals.
fn values(expr: &str) -> Vec<i64> {
    let relations = Fixture::new(&["lead", "won"])
        .dimensions(&["region"])
        .line(Relation::Deals, "closed_on=2024-01-01 is_won=1 amount=100 region=e")
        .line(Relation::Deals, "closed_on=2024-02-01 amount=-7 region=w")
        .line(Relation::Deals, "amount=5 is_open=1")
        .build();
    let sql = format!("SELECT visits_n, SUM({expr}) AS v FROM deals GROUP BY visits_n");
    let query =
        StateQuery::parse(Relation::Deals, &sql, &["region".to_owned()]).expect("allowed SQL");
    let mut program = Program::default();
    let mut compiler = Compiler {
        relation: Relation::Deals,
        dictionaries: &relations.dictionaries,
        program: &mut program,
    };
    let argument = query.values[0].argument.clone().unwrap();
    let register = compiler.value(&argument).expect("an expression that compiles");
    let batch = &relations.batches[&Relation::Deals];
    let columns = program::columns(&program, batch).unwrap();
    let mut registers = Registers::default();
    registers.run(&program, &columns, 0, batch.rows).unwrap();
    registers.of(register).to_vec()
}

#[track_caller]
fn check(expr: &str, expected: [i64; 3]) {
    assert_eq!(values(expr), expected, "{expr}");
}

#[test]
fn null_is_neither_true_nor_false() {
    let case = |condition: &str| format!("CASE WHEN {condition} THEN 1 ELSE 0 END");
    check(&case("closed_on >= DATE '2024-02-01'"), [0, 1, 0]);
    check(&case("NOT closed_on >= DATE '2024-02-01'"), [1, 0, 0]);
    check(&case("closed_on IS NULL OR region = 'e'"), [1, 0, 1]);
    check(&case("region <> 'e'"), [0, 1, 0]);
    check(&case("region IN ('e', 'nowhere')"), [1, 0, 0]);
    check(&case("region NOT IN ('e')"), [0, 1, 0]);
    check(&case("region > 'e' AND amount BETWEEN -10 AND 0"), [0, 1, 0]);
}

#[test]
fn cases_and_arithmetic_are_those_of_sql() {
    check("CASE WHEN is_won = 1 THEN amount WHEN amount < 0 THEN 0 - amount END", [100, 7, NULL]);
    check("COALESCE(CASE WHEN is_won = 1 THEN amount END, 3)", [100, 3, 3]);
    check("CASE region WHEN 'e' THEN 1 WHEN 'w' THEN 2 ELSE 3 END", [1, 2, 3]);
    check("2 * amount - is_won + 1", [200, -13, 11]);
    check("-amount", [-100, 7, -5]);
}

#[test]
fn a_product_beyond_64_bits_is_refused() {
    let mut program = Program::default();
    let large = program.step(program::Step::Constant(i64::MAX));
    let two = program.step(program::Step::Constant(2));
    program.step(program::Step::Arithmetic(program::Arithmetic::Multiply, large, two));
    let mut registers = Registers::default();
    assert!(registers.run(&program, &[], 0, 1).is_err());
}

#[test]
fn equal_expressions_are_one_step() {
    let mut program = Program::default();
    let (a, b) = (program.load("amount"), program.load("amount"));
    assert_eq!((a, program.steps.len()), (b, 1));
}
