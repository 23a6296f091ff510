//! The expressions a state's SQL may hold: columns, constants, arithmetic, comparisons and `CASE`.
//!
//! This is a list of what is allowed, not of what is forbidden, so that a new construct of a parser
//! or engine is refused until it has been thought about. Division and other functions are left out
//! because engines round and type them differently.

use sqlparser::ast::{self, BinaryOperator, DataType, Expr, UnaryOperator, Value};

use super::sql::Refusal;
use crate::error::nearest_names;
use crate::relations::{Kind, Relation};

const ALLOWED: &str = "columns, constants, + - *, comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, \
                       COALESCE and CASE are allowed";

/// What names mean inside one state.
pub(crate) struct Scope<'a> {
    pub(crate) relation: Relation,
    pub(crate) dimensions: &'a [String],
}

impl Scope<'_> {
    /// The kind of a column or dimension of the relation.
    pub(crate) fn kind(&self, name: &str) -> Result<Kind, Refusal> {
        if let Some(kind) = column_kind(self.relation, name) {
            return Ok(kind);
        }
        if self.dimensions.iter().any(|d| d == name) {
            return Ok(Kind::Dictionary("dimension"));
        }
        let known = self.relation.columns().iter().map(|c| c.name);
        let near = nearest_names(name, known.chain(self.dimensions.iter().map(String::as_str)));
        let hint = match near.first() {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("the columns of {} are documented", self.relation.name()),
        };
        Err(Refusal::new(format!("{} has no column {name:?}", self.relation.name()), hint))
    }

    pub(crate) fn is_day(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Identifier(column) => matches!(self.kind(&column.value), Ok(Kind::Day)),
            _ => false,
        }
    }

    /// Checks an expression whose value is a whole number.
    pub(crate) fn check_integer(&self, expr: &Expr) -> Result<(), Refusal> {
        match expr {
            Expr::Identifier(column) => match self.kind(&column.value)? {
                Kind::Flag | Kind::Small | Kind::Int => Ok(()),
                _ => Err(Refusal::new(
                    format!("{:?} is not a number", column.value),
                    "use it as a key or inside CASE WHEN … THEN 1 ELSE 0 END",
                )),
            },
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) if text.parse::<i64>().is_ok() => Ok(()),
                Value::Null => Ok(()),
                other => Err(Refusal::new(format!("{other} is not a whole number"), ALLOWED)),
            },
            Expr::Nested(inner) => self.check_integer(inner),
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => {
                self.check_integer(expr)
            }
            Expr::BinaryOp { left, op, right } if is_arithmetic(op) => {
                self.check_integer(left)?;
                self.check_integer(right)
            }
            Expr::BinaryOp { op: BinaryOperator::Divide | BinaryOperator::Modulo, .. } => {
                let hint = "write numerator and denominator as two columns";
                Err(Refusal::new(format!("{expr} divides, which does not add up"), hint))
            }
            Expr::Cast { expr, data_type, format: None, array: false, .. }
                if is_integer_type(data_type) =>
            {
                self.check_integer(expr)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.check_cases(operand.as_deref(), conditions)?;
                for case in conditions {
                    self.check_integer(&case.result)?;
                }
                else_result.as_deref().map_or(Ok(()), |e| self.check_integer(e))
            }
            Expr::Function(function) => {
                arguments(function)?.into_iter().try_for_each(|e| self.check_integer(e))
            }
            Expr::Subquery(_) | Expr::Exists { .. } => Err(subquery()),
            _ => {
                self.check_condition(expr)?;
                let hint = format!("write CASE WHEN {expr} THEN 1 ELSE 0 END");
                Err(Refusal::new(format!("{expr} is not a number"), hint))
            }
        }
    }

    /// Checks an expression of any type, such as a condition.
    pub(crate) fn check_condition(&self, expr: &Expr) -> Result<(), Refusal> {
        match expr {
            Expr::Identifier(column) => self.kind(&column.value).map(|_| ()),
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) if text.parse::<i64>().is_ok() => Ok(()),
                Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => Ok(()),
                other => Err(Refusal::new(format!("{other} is not allowed"), ALLOWED)),
            },
            Expr::TypedString(text) if text.data_type == DataType::Date => Ok(()),
            Expr::Nested(inner) | Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
                self.check_condition(inner)
            }
            Expr::UnaryOp {
                op: UnaryOperator::Not | UnaryOperator::Minus | UnaryOperator::Plus,
                expr,
            } => self.check_condition(expr),
            Expr::BinaryOp { left, op, right } if is_arithmetic(op) || is_logical(op) => {
                self.check_condition(left)?;
                self.check_condition(right)
            }
            Expr::Between { expr, low, high, .. } => {
                [expr, low, high].into_iter().try_for_each(|e| self.check_condition(e))
            }
            Expr::InList { expr, list, .. } => {
                self.check_condition(expr)?;
                list.iter().try_for_each(|e| self.check_condition(e))
            }
            Expr::Cast { expr, data_type, format: None, array: false, .. }
                if is_integer_type(data_type) || *data_type == DataType::Date =>
            {
                self.check_condition(expr)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.check_cases(operand.as_deref(), conditions)?;
                let results = conditions.iter().map(|c| &c.result);
                results.chain(else_result.as_deref()).try_for_each(|e| self.check_condition(e))
            }
            Expr::Function(function) => {
                arguments(function)?.into_iter().try_for_each(|e| self.check_condition(e))
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => Err(subquery()),
            Expr::CompoundIdentifier(_) => {
                Err(Refusal::new(format!("{expr} is qualified"), "write the column's name alone"))
            }
            _ => Err(Refusal::new(format!("{expr} does not mean the same everywhere"), ALLOWED)),
        }
    }

    fn check_cases(
        &self,
        operand: Option<&Expr>,
        conditions: &[ast::CaseWhen],
    ) -> Result<(), Refusal> {
        operand
            .into_iter()
            .chain(conditions.iter().map(|c| &c.condition))
            .try_for_each(|e| self.check_condition(e))
    }
}

/// The kind of a declared column.
pub(crate) fn column_kind(relation: Relation, name: &str) -> Option<Kind> {
    relation.columns().iter().find(|c| c.name == name).map(|c| c.kind)
}

/// Whether an expression is just this column.
pub(crate) fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Identifier(column) if column.value == name)
}

fn subquery() -> Refusal {
    Refusal::new("a subquery does not add up", ALLOWED)
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply)
}

fn is_logical(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq | Op::And | Op::Or)
}

fn is_integer_type(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(data_type, D::BigInt(None) | D::Int(None) | D::Integer(None) | D::SmallInt(None))
}

/// The arguments of `COALESCE`; every other function is refused.
pub(crate) fn arguments(function: &ast::Function) -> Result<Vec<&Expr>, Refusal> {
    let name = function.name.to_string().to_ascii_uppercase();
    if matches!(name.as_str(), "COUNT" | "SUM" | "MIN" | "MAX" | "AVG") {
        let hint = "an aggregate stands alone: SUM(…) AS name";
        return Err(Refusal::new(format!("{function} is inside another expression"), hint));
    }
    let refused = || Refusal::new(format!("the function {name} is not allowed"), ALLOWED);
    if name != "COALESCE" || function.over.is_some() || function.filter.is_some() {
        return Err(refused());
    }
    let ast::FunctionArguments::List(list) = &function.args else { return Err(refused()) };
    list.args
        .iter()
        .map(|argument| match argument {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Ok(expr),
            _ => Err(refused()),
        })
        .collect()
}

/// An argument of `SUM` that adds in 64 bits. Polars adds 32-bit numbers, which is what constants
/// are, in 32 bits and wraps without a word; so whatever is not a 64-bit column is cast.
pub(crate) fn widened(expr: &Expr, relation: Relation) -> String {
    match expr {
        Expr::Identifier(c) if column_kind(relation, &c.value) == Some(Kind::Int) => {
            expr.to_string()
        }
        _ => format!("CAST({} AS BIGINT)", widened_factors(expr, relation)),
    }
}

/// The same expression with every narrow column of a sum or product cast before it is computed.
fn widened_factors(expr: &Expr, relation: Relation) -> Expr {
    match expr {
        Expr::Nested(inner) => Expr::Nested(Box::new(widened_factors(inner, relation))),
        Expr::UnaryOp { op, expr } => {
            Expr::UnaryOp { op: *op, expr: Box::new(wide(expr, relation)) }
        }
        Expr::BinaryOp { left, op, right } if is_arithmetic(op) => Expr::BinaryOp {
            left: Box::new(wide(left, relation)),
            op: op.clone(),
            right: Box::new(wide(right, relation)),
        },
        Expr::Case { case_token, end_token, operand, conditions, else_result } => Expr::Case {
            case_token: case_token.clone(),
            end_token: end_token.clone(),
            operand: operand.clone(),
            conditions: conditions
                .iter()
                .map(|case| ast::CaseWhen {
                    condition: case.condition.clone(),
                    result: widened_factors(&case.result, relation),
                })
                .collect(),
            else_result: else_result.as_deref().map(|e| Box::new(widened_factors(e, relation))),
        },
        other => other.clone(),
    }
}

fn wide(expr: &Expr, relation: Relation) -> Expr {
    let narrow = match expr {
        Expr::Identifier(c) => column_kind(relation, &c.value) != Some(Kind::Int),
        Expr::Value(_) => true,
        _ => return widened_factors(expr, relation),
    };
    if !narrow {
        return expr.clone();
    }
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr.clone()),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    }
}

/// The names of the columns whose value, not whose truth, an expression adds up.
pub(crate) fn value_columns(expr: &Expr) -> Vec<&str> {
    match expr {
        Expr::Identifier(column) => vec![column.value.as_str()],
        Expr::Nested(e) | Expr::UnaryOp { expr: e, .. } | Expr::Cast { expr: e, .. } => {
            value_columns(e)
        }
        Expr::BinaryOp { left, right, .. } => {
            value_columns(left).into_iter().chain(value_columns(right)).collect()
        }
        Expr::Case { conditions, else_result, .. } => conditions
            .iter()
            .map(|c| &c.result)
            .chain(else_result.as_deref())
            .flat_map(value_columns)
            .collect(),
        Expr::Function(f) => {
            arguments(f).unwrap_or_default().into_iter().flat_map(value_columns).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an expression is an amount of money: it adds amounts, and multiplies them by no other.
pub(crate) fn is_money(expr: &Expr) -> bool {
    let amounts = |e: &Expr| {
        value_columns(e).iter().filter(|c| **c == "amount" || c.ends_with("_amount")).count()
    };
    let flags = |e: &Expr| value_columns(e).iter().any(|c| c.starts_with("has_"));
    match expr {
        Expr::Nested(e) | Expr::UnaryOp { expr: e, .. } | Expr::Cast { expr: e, .. } => is_money(e),
        Expr::BinaryOp { op: BinaryOperator::Multiply, left, right } => {
            is_money(left) != is_money(right)
        }
        _ => amounts(expr) > 0 && !flags(expr),
    }
}

/// The greatest absolute value an expression can have, given that of each column; `None` when it
/// does not even fit 128 bits.
pub(crate) fn bound(expr: &Expr, column: &impl Fn(&str) -> i128) -> Option<i128> {
    match expr {
        Expr::Identifier(c) => Some(column(&c.value)),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<i128>().ok(),
            _ => Some(1),
        },
        Expr::Nested(e) | Expr::UnaryOp { expr: e, .. } | Expr::Cast { expr: e, .. } => {
            bound(e, column)
        }
        Expr::BinaryOp { left, op, right } if is_arithmetic(op) => {
            let (left, right) = (bound(left, column)?, bound(right, column)?);
            match op {
                BinaryOperator::Multiply => left.checked_mul(right),
                _ => left.checked_add(right),
            }
        }
        Expr::Case { conditions, else_result, .. } => {
            let results = conditions.iter().map(|c| &c.result).chain(else_result.as_deref());
            results.map(|e| bound(e, column)).try_fold(0, |most, b| Some(most.max(b?)))
        }
        Expr::Function(f) => arguments(f)
            .unwrap_or_default()
            .into_iter()
            .map(|e| bound(e, column))
            .try_fold(0, |most, b| Some(most.max(b?))),
        _ => Some(1),
    }
}
