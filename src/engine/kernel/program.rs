//! What a relation's states compute of each row, as a list of steps over blocks of rows.
//!
//! A step reads earlier registers and fills its own: 64-bit integers, null is [`NULL`], a truth is 0
//! or 1. A block's registers stay in the first-level cache, each step is a plain loop over them, and
//! equal expressions of all states of a relation are one step.

use crate::error::Error;
use crate::metrics::NO_KEY;
use crate::relations::batch::{Batch, NO_NAME, Values};
use crate::time::NO_DAY;

/// Null in a register.
pub(super) const NULL: i64 = NO_KEY;

/// Rows worked on at a time.
pub(super) const BLOCK: usize = 1024;

/// A register, which is the position of the step that fills it.
pub(super) type Register = usize;

/// Sums, differences and products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A column of the batch, by position in [`Program::columns`].
    Load(usize),
    Constant(i64),
    Arithmetic(Arithmetic, Register, Register),
    Compare(Comparison, Register, Register),
    And(Register, Register),
    Or(Register, Register),
    Not(Register),
    IsNull(Register),
    /// The value at a code's place in a table.
    Look(Register, Vec<i64>),
    /// The second where the first is true, else the third.
    Choose(Register, Register, Register),
    /// The second where the first is null.
    Coalesce(Register, Register),
    /// The same value, which must lie between two others.
    Within(Register, i64, i64),
}

/// The steps of all states of one relation.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Columns and dimensions that are read.
    pub(super) columns: Vec<String>,
    pub(super) steps: Vec<Step>,
}

impl Program {
    /// The register of a step; an equal one is not made again.
    pub(super) fn step(&mut self, step: Step) -> Register {
        if let Some(known) = self.steps.iter().position(|s| *s == step) {
            return known;
        }
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The register of a column.
    pub(super) fn load(&mut self, name: &str) -> Register {
        let place = self.columns.iter().position(|c| c == name).unwrap_or_else(|| {
            self.columns.push(name.to_owned());
            self.columns.len() - 1
        });
        self.step(Step::Load(place))
    }
}

/// A block's registers.
#[derive(Debug, Default)]
pub(super) struct Registers {
    values: Vec<Vec<i64>>,
}

/// A number left 64 bits, or a narrower type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfRange;

impl Registers {
    /// The register's rows.
    pub(super) fn of(&self, register: Register) -> &[i64] {
        self.values.get(register).map_or(&[], Vec::as_slice)
    }

    /// Runs all steps over the rows from `begin` to `end` of the columns.
    pub(super) fn run(
        &mut self,
        program: &Program,
        columns: &[&Values],
        begin: usize,
        end: usize,
    ) -> Result<(), OutOfRange> {
        self.values.resize_with(program.steps.len(), Vec::new);
        for (register, step) in program.steps.iter().enumerate() {
            let Some(own) = self.values.get_mut(register) else { continue };
            let mut out = std::mem::take(own);
            let result = self.fill(step, columns, begin, end, &mut out);
            if let Some(own) = self.values.get_mut(register) {
                *own = out;
            }
            result?;
        }
        Ok(())
    }

    fn fill(
        &self,
        step: &Step,
        columns: &[&Values],
        begin: usize,
        end: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), OutOfRange> {
        let rows = end - begin;
        out.resize(rows, 0);
        match step {
            Step::Load(place) => {
                if let Some(values) = columns.get(*place) {
                    load(values, begin, end, out);
                }
            }
            Step::Constant(value) => out.fill(*value),
            Step::Arithmetic(operation, a, b) => {
                return arithmetic(*operation, self.of(*a), self.of(*b), out);
            }
            Step::Compare(comparison, a, b) => {
                let (a, b) = (self.of(*a), self.of(*b));
                match comparison {
                    Comparison::Equal => compare(a, b, out, |a, b| a == b),
                    Comparison::Unequal => compare(a, b, out, |a, b| a != b),
                    Comparison::Less => compare(a, b, out, |a, b| a < b),
                    Comparison::LessOrEqual => compare(a, b, out, |a, b| a <= b),
                }
            }
            Step::And(a, b) => zip(self.of(*a), self.of(*b), out, |a, b| match (a, b) {
                (0, _) | (_, 0) => 0,
                (NULL, _) | (_, NULL) => NULL,
                _ => 1,
            }),
            Step::Or(a, b) => zip(self.of(*a), self.of(*b), out, |a, b| match (a, b) {
                (1, _) | (_, 1) => 1,
                (NULL, _) | (_, NULL) => NULL,
                _ => 0,
            }),
            Step::Not(a) => map(self.of(*a), out, |a| if a == NULL { NULL } else { 1 - a }),
            Step::IsNull(a) => map(self.of(*a), out, |a| i64::from(a == NULL)),
            Step::Look(a, table) => {
                let look = |code: i64| usize::try_from(code).ok().and_then(|c| table.get(c));
                map(self.of(*a), out, |a| look(a).copied().unwrap_or(NULL));
            }
            Step::Choose(condition, a, b) => {
                let values = self.of(*a).iter().zip(self.of(*b));
                for ((out, condition), (a, b)) in
                    out.iter_mut().zip(self.of(*condition)).zip(values)
                {
                    *out = if *condition == 1 { *a } else { *b };
                }
            }
            Step::Coalesce(a, b) => {
                zip(self.of(*a), self.of(*b), out, |a, b| if a == NULL { b } else { a });
            }
            Step::Within(a, least, most) => {
                let inside = |v: &i64| *v == NULL || (*least..=*most).contains(v);
                if !self.of(*a).iter().all(inside) {
                    return Err(OutOfRange);
                }
                map(self.of(*a), out, |a| a);
            }
        }
        Ok(())
    }
}

fn map(a: &[i64], out: &mut [i64], f: impl Fn(i64) -> i64) {
    for (out, a) in out.iter_mut().zip(a) {
        *out = f(*a);
    }
}

fn zip(a: &[i64], b: &[i64], out: &mut [i64], f: impl Fn(i64, i64) -> i64) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = f(*a, *b);
    }
}

fn compare(a: &[i64], b: &[i64], out: &mut [i64], holds: impl Fn(i64, i64) -> bool) {
    zip(a, b, out, |a, b| if a == NULL || b == NULL { NULL } else { i64::from(holds(a, b)) });
}

fn arithmetic(
    operation: Arithmetic,
    a: &[i64],
    b: &[i64],
    out: &mut [i64],
) -> Result<(), OutOfRange> {
    let one: fn(i64, i64) -> (i64, bool) = match operation {
        Arithmetic::Add => i64::overflowing_add,
        Arithmetic::Subtract => i64::overflowing_sub,
        Arithmetic::Multiply => i64::overflowing_mul,
    };
    let mut out_of_range = false;
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        let null = *a == NULL || *b == NULL;
        let (value, overflowed) = one(*a, *b);
        out_of_range |= !null && (overflowed || value == NULL);
        *out = if null { NULL } else { value };
    }
    if out_of_range { Err(OutOfRange) } else { Ok(()) }
}

fn load(values: &Values, begin: usize, end: usize, out: &mut [i64]) {
    fn widen<T: Copy + Into<i64>>(values: &[T], begin: usize, end: usize, out: &mut [i64]) {
        let rows = values.get(begin..end).unwrap_or(&[]);
        for (out, value) in out.iter_mut().zip(rows) {
            *out = (*value).into();
        }
    }
    let or_null = |out: &mut [i64], none: i64| {
        for value in out {
            *value = if *value == none { NULL } else { *value };
        }
    };
    match values {
        Values::Flag(v) => widen(v, begin, end, out),
        Values::Small(v) => widen(v, begin, end, out),
        Values::Int(v) => widen(v, begin, end, out),
        Values::Day(v) => {
            widen(v, begin, end, out);
            or_null(out, i64::from(NO_DAY));
        }
        Values::Codes(v) => {
            widen(v, begin, end, out);
            or_null(out, i64::from(NO_NAME));
        }
    }
}

/// The columns that a program reads, in its order.
pub(super) fn columns<'a>(program: &Program, batch: &'a Batch) -> Result<Vec<&'a Values>, Error> {
    let missing = |name: &String| {
        Error::Bug(format!("a batch of {} has no column {name:?}", batch.relation.name()))
    };
    program.columns.iter().map(|name| batch.column(name).ok_or_else(|| missing(name))).collect()
}
