//! From a state's SQL to steps. What [`super::super::expression`] accepts is what can be compiled,
//! with the meaning that SQL gives it: comparisons with null are null, and only what is true counts.

use sqlparser::ast::{self, BinaryOperator, DataType, Expr, UnaryOperator, Value};

use super::program::{Arithmetic, Comparison, NULL, Program, Register, Step};
use crate::engine::expression::{arguments, column_kind};
use crate::engine::sql::Refusal;
use crate::relations::{Dictionaries, Kind, Relation};
use crate::time::from_date;

/// Compiles the expressions of one relation into its program.
pub(super) struct Compiler<'a> {
    pub(super) relation: Relation,
    pub(super) dictionaries: &'a Dictionaries,
    pub(super) program: &'a mut Program,
}

/// What an expression came to.
enum Term {
    /// A number, a day or a truth.
    Number(Register),
    /// Codes of these names.
    Names(Register, Vec<String>),
    /// A constant text.
    Text(String),
}

impl Compiler<'_> {
    /// The register of a value.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<Register, Refusal> {
        Ok(self.key(expr)?.0)
    }

    /// The register of a key, and how many names its codes can be; `None` for numbers and days.
    pub(super) fn key(&mut self, expr: &Expr) -> Result<(Register, Option<usize>), Refusal> {
        match self.term(expr)? {
            Term::Number(register) => Ok((register, None)),
            Term::Names(register, names) => Ok((register, Some(names.len()))),
            Term::Text(text) => {
                let hint = "compare it with a column";
                Err(Refusal::new(format!("the text {text:?} stands alone"), hint))
            }
        }
    }

    fn constant(&mut self, value: i64) -> Term {
        Term::Number(self.program.step(Step::Constant(value)))
    }

    fn term(&mut self, expr: &Expr) -> Result<Term, Refusal> {
        match expr {
            Expr::Identifier(column) => Ok(self.column(&column.value)),
            Expr::Value(value) => self.literal(&value.value),
            Expr::TypedString(text) => {
                let text = text.value.to_string();
                self.date(text.trim_matches('\''))
            }
            Expr::Nested(inner) => self.term(inner),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => self.term(expr),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
                let zero = self.program.step(Step::Constant(0));
                let value = self.value(expr)?;
                Ok(self.number(Step::Arithmetic(Arithmetic::Subtract, zero, value)))
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                let value = self.value(expr)?;
                Ok(self.number(Step::Not(value)))
            }
            Expr::IsNull(inner) => {
                let value = self.value(inner)?;
                Ok(self.number(Step::IsNull(value)))
            }
            Expr::IsNotNull(inner) => {
                let value = self.value(inner)?;
                let null = self.program.step(Step::IsNull(value));
                Ok(self.number(Step::Not(null)))
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::Between { expr, negated, low, high } => {
                let low = self.compare(low, &BinaryOperator::LtEq, expr)?;
                let high = self.compare(expr, &BinaryOperator::LtEq, high)?;
                let both = self.program.step(Step::And(low, high));
                Ok(self.negated(both, *negated))
            }
            Expr::InList { expr, list, negated } => {
                let mut any = self.program.step(Step::Constant(0));
                for item in list {
                    let equal = self.compare(expr, &BinaryOperator::Eq, item)?;
                    any = self.program.step(Step::Or(any, equal));
                }
                Ok(self.negated(any, *negated))
            }
            Expr::Cast { expr, data_type, .. } => self.cast(expr, data_type),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Function(function) => {
                let mut registers = Vec::new();
                for argument in arguments(function)? {
                    registers.push(self.value(argument)?);
                }
                let mut reversed = registers.into_iter().rev();
                let last = reversed.next().unwrap_or_default();
                let all = reversed.fold(last, |b, a| self.program.step(Step::Coalesce(a, b)));
                Ok(Term::Number(all))
            }
            _ => Err(Refusal::new(format!("{expr} is not supported"), "write it another way")),
        }
    }

    fn number(&mut self, step: Step) -> Term {
        Term::Number(self.program.step(step))
    }

    fn negated(&mut self, register: Register, negated: bool) -> Term {
        if negated { self.number(Step::Not(register)) } else { Term::Number(register) }
    }

    fn column(&mut self, name: &str) -> Term {
        let register = self.program.load(name);
        let of = |key: &str| {
            self.dictionaries.names.get(key).map_or_else(Vec::new, |names| names.to_vec())
        };
        match column_kind(self.relation, name) {
            Some(Kind::Flag | Kind::Small | Kind::Int | Kind::Day) => Term::Number(register),
            Some(Kind::Name(names)) => {
                Term::Names(register, names.iter().map(|n| (*n).to_owned()).collect())
            }
            Some(Kind::Stage) => Term::Names(register, of("stage")),
            // A dimension may stand in the place of a declared column, and has its own names.
            Some(Kind::Dictionary(key)) if !self.dictionaries.names.contains_key(name) => {
                Term::Names(register, of(key))
            }
            Some(Kind::Dictionary(_)) | None => Term::Names(register, of(name)),
        }
    }

    fn literal(&mut self, value: &Value) -> Result<Term, Refusal> {
        Ok(match value {
            Value::Number(text, _) => match text.parse::<i64>() {
                Ok(number) => self.constant(number),
                Err(_) => return Err(Refusal::new(format!("{text} is no whole number"), "")),
            },
            Value::Boolean(truth) => self.constant(i64::from(*truth)),
            Value::Null => self.constant(NULL),
            Value::SingleQuotedString(text) => Term::Text(text.clone()),
            other => return Err(Refusal::new(format!("{other} is not supported"), "")),
        })
    }

    fn date(&mut self, text: &str) -> Result<Term, Refusal> {
        match text.parse() {
            Ok(date) => Ok(self.constant(i64::from(from_date(date)))),
            Err(_) => Err(Refusal::new(format!("{text:?} is no date"), "write DATE 'YYYY-MM-DD'")),
        }
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Term, Refusal> {
        use BinaryOperator as Op;
        let arithmetic = match op {
            Op::Plus => Some(Arithmetic::Add),
            Op::Minus => Some(Arithmetic::Subtract),
            Op::Multiply => Some(Arithmetic::Multiply),
            _ => None,
        };
        if let Some(operation) = arithmetic {
            let (left, right) = (self.value(left)?, self.value(right)?);
            return Ok(self.number(Step::Arithmetic(operation, left, right)));
        }
        match op {
            Op::And => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Ok(self.number(Step::And(left, right)))
            }
            Op::Or => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Ok(self.number(Step::Or(left, right)))
            }
            _ => Ok(Term::Number(self.compare(left, op, right)?)),
        }
    }

    fn compare(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Register, Refusal> {
        use BinaryOperator as Op;
        let (comparison, turned) = match op {
            Op::Eq => (Comparison::Equal, false),
            Op::NotEq => (Comparison::Unequal, false),
            Op::Lt => (Comparison::Less, false),
            Op::LtEq => (Comparison::LessOrEqual, false),
            Op::Gt => (Comparison::Less, true),
            Op::GtEq => (Comparison::LessOrEqual, true),
            _ => return Err(Refusal::new(format!("{op} is not supported"), "compare or add")),
        };
        let (left, right) = if turned { (right, left) } else { (left, right) };
        let (left, right) = (self.term(left)?, self.term(right)?);
        let (left, right) = match (left, right) {
            (Term::Number(a), Term::Number(b)) => (a, b),
            (Term::Number(a), Term::Text(text)) => (a, self.day_of(&text)?),
            (Term::Text(text), Term::Number(b)) => (self.day_of(&text)?, b),
            (Term::Text(a), Term::Text(b)) => {
                let places = places(std::slice::from_ref(&a), std::slice::from_ref(&b));
                let place = |text| places.iter().position(|p| *p == text).unwrap_or(0) as i64;
                let (a, b) = (place(a), place(b));
                (self.program.step(Step::Constant(a)), self.program.step(Step::Constant(b)))
            }
            (Term::Names(a, names), Term::Text(text)) => self.by_place(a, &names, None, &[text]),
            (Term::Text(text), Term::Names(b, names)) => {
                let (names, text) = self.by_place(b, &names, None, &[text]);
                (text, names)
            }
            (Term::Names(a, names), Term::Names(b, others)) if names == others => {
                if matches!(comparison, Comparison::Equal | Comparison::Unequal) {
                    (a, b)
                } else {
                    self.by_place(a, &names, Some(b), &others)
                }
            }
            (Term::Names(a, names), Term::Names(b, others)) => {
                self.by_place(a, &names, Some(b), &others)
            }
            (Term::Names(..), Term::Number(_)) | (Term::Number(_), Term::Names(..)) => {
                let hint = "compare a name with a text or a name";
                return Err(Refusal::new("a name is compared with a number", hint));
            }
        };
        Ok(self.program.step(Step::Compare(comparison, left, right)))
    }

    fn day_of(&mut self, text: &str) -> Result<Register, Refusal> {
        match self.date(text)? {
            Term::Number(register) => Ok(register),
            _ => Err(Refusal::new(format!("{text:?} is no date"), "write DATE 'YYYY-MM-DD'")),
        }
    }

    /// Two sets of names as places in one sorted list, so that they compare as their texts do. The
    /// second is a column's, or one constant.
    fn by_place(
        &mut self,
        a: Register,
        names: &[String],
        b: Option<Register>,
        others: &[String],
    ) -> (Register, Register) {
        let places = places(names, others);
        let place = |name: &String| places.binary_search(name).map_or(NULL, |p| p as i64);
        let a = self.program.step(Step::Look(a, names.iter().map(place).collect()));
        let table: Vec<i64> = others.iter().map(place).collect();
        let b = match b {
            Some(b) => self.program.step(Step::Look(b, table)),
            None => self.program.step(Step::Constant(table.first().copied().unwrap_or(NULL))),
        };
        (a, b)
    }

    fn cast(&mut self, expr: &Expr, to: &DataType) -> Result<Term, Refusal> {
        let value = self.value(expr)?;
        Ok(match to {
            DataType::SmallInt(_) => {
                self.number(Step::Within(value, i16::MIN.into(), i16::MAX.into()))
            }
            DataType::Int(_) | DataType::Integer(_) | DataType::Date => {
                self.number(Step::Within(value, i32::MIN.into(), i32::MAX.into()))
            }
            _ => Term::Number(value),
        })
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Term, Refusal> {
        let mut result = match otherwise {
            Some(expr) => self.value(expr)?,
            None => self.program.step(Step::Constant(NULL)),
        };
        for case in conditions.iter().rev() {
            let condition = match operand {
                Some(operand) => self.compare(operand, &BinaryOperator::Eq, &case.condition)?,
                None => self.value(&case.condition)?,
            };
            let value = self.value(&case.result)?;
            result = self.program.step(Step::Choose(condition, value, result));
        }
        Ok(Term::Number(result))
    }
}

/// All names of two lists, sorted.
fn places(names: &[String], others: &[String]) -> Vec<String> {
    let mut all: Vec<String> = names.iter().chain(others).cloned().collect();
    all.sort();
    all.dedup();
    all
}
