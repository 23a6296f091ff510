//! The sections `[process]` and `[funnels.NAME]`: how paths are told, and funnels of your own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{Config, inputs};

/// How the paths of deals are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// So many variants have a row of their own in `process_variants`, above 0.
    pub variants_max: usize,
}

impl Default for Process {
    fn default() -> Self {
        Self { variants_max: 50 }
    }
}

/// A funnel of your own, in `windowed_funnel`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Funnel {
    /// The steps in order: ids of stages, or tables with `stages`, `name`, `is_optional`, `window`.
    pub steps: Vec<Step>,
    /// From the first step to each later one at most so long, such as "30 days", "36 hours" or
    /// "90 minutes", the edge included; default without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// How days are counted: "elapsed", of 24 hours, or "calendar", civil days of the reporting zone.
    pub clock: WindowClock,
    /// Whether steps are taken "ordered" or in "any" order.
    pub order: StepOrder,
    /// What else must hold, any of "strict_order", "strict_deduplication", "strict_increase",
    /// "strict_once".
    pub strict: Vec<Strict>,
    /// Which entries to the first step begin an attempt.
    pub reentry: Reentry,
    /// Stages that end an attempt when the deal enters one of them between two steps.
    pub exclude: Vec<String>,
    /// The time whose dimensions an attempt carries.
    pub breakdown: Breakdown,
    /// The pipeline whose stages these are, where several have stages of one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
}

/// A step of a funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Step {
    /// One stage.
    Stage(String),
    /// Any of some stages.
    Stages(StepOptions),
}

/// A step of a funnel that is more than a stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StepOptions {
    /// Its name in the table; default the stages joined by "|".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ids of the stages that count as the step.
    pub stages: Vec<String>,
    /// Whether a deal may leave it out.
    pub is_optional: bool,
    /// From the step before to this one at most so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// How the days of a window are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowClock {
    /// A day is 24 hours.
    #[default]
    Elapsed,
    /// A day is a civil day of the reporting zone, whatever the time of day.
    Calendar,
}

/// In which order steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOrder {
    /// One after the other.
    #[default]
    Ordered,
    /// Any; the k-th row counts deals that took k of the steps.
    Any,
}

/// What else must hold of an ordered funnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strict {
    /// An attempt ends at a visit that is no step, or a step out of turn.
    StrictOrder,
    /// An attempt ends at a step that it has taken already, other than the first.
    StrictDeduplication,
    /// Every step is later than the one before, not at the same instant.
    StrictIncrease,
    /// One visit is one step, also where its stage counts as several.
    StrictOnce,
}

/// Which entries to the first step begin an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reentry {
    /// The first one.
    #[default]
    First,
    /// The last one.
    Last,
    /// Each one; an attempt ends where the next one begins.
    Every,
    /// The one that leads furthest; of equals the earliest.
    Best,
    /// One attempt, whose clock each entry starts again without losing what was reached, as
    /// ClickHouse's windowFunnel does.
    Restart,
}

/// The time whose dimensions an attempt carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breakdown {
    /// The deal's, as all its rows have them.
    #[default]
    Deal,
    /// Those at the first step.
    FirstStep,
    /// Those at the last step taken.
    LastStep,
}

impl Step {
    /// The stages that count as the step.
    #[must_use]
    pub fn stages(&self) -> &[String] {
        match self {
            Self::Stage(stage) => std::slice::from_ref(stage),
            Self::Stages(options) => &options.stages,
        }
    }

    /// Its name in the table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stages(StepOptions { name: Some(name), .. }) => name.clone(),
            _ => self.stages().join("|"),
        }
    }

    /// Whether a deal may leave it out.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Stages(options) if options.is_optional)
    }

    /// How long after the step before it may be taken.
    #[must_use]
    pub fn window(&self) -> Option<&str> {
        match self {
            Self::Stage(_) => None,
            Self::Stages(options) => options.window.as_deref(),
        }
    }
}

/// The seconds of a window such as "30 days", "36 hours", "2 weeks", "90 minutes" or "10 s".
#[must_use]
pub fn window_seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "s" | "second" | "seconds" => 1,
        "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit).filter(|seconds| *seconds <= WINDOW_MAX)
}

/// A century in seconds.
const WINDOW_MAX: i64 = 36_525 * 86_400;

/// Gathers every violation.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    if config.process.variants_max == 0 {
        problems.add("process.variants_max", "expected 1 or more, found 0");
    }
    for (name, funnel) in &config.funnels {
        let key = format!("funnels.{name}");
        if name.trim() != name || name.is_empty() {
            problems.add(&key, "a funnel needs a name, without white space around it");
        }
        if funnel.steps.len() < 2 {
            let problem = format!("expected 2 steps or more, found {}", funnel.steps.len());
            problems.add(&format!("{key}.steps"), &problem);
        }
        check_steps(&key, funnel, config, problems);
        check_rules(&key, funnel, problems);
    }
}

fn check_steps(key: &str, funnel: &Funnel, config: &Config, problems: &mut Problems<'_>) {
    let steps = format!("{key}.steps");
    if let Some(of) = &funnel.pipeline
        && !config.pipelines.contains_key(of)
        && !config.inputs.contains_key(inputs::STAGES)
    {
        let meant = did_you_mean(of, config.pipelines.keys().map(String::as_str));
        problems.add(&format!("{key}.pipeline"), format!("there is no pipeline {of:?}{meant}"));
    }
    let first = funnel.steps.first();
    if first.is_some_and(|step| step.is_optional() || step.window().is_some()) {
        problems
            .add(&steps, "the first step begins an attempt: it has no window and is not optional");
    }
    for (place, step) in funnel.steps.iter().enumerate() {
        if step.stages().is_empty() {
            problems.add(&steps, format!("step {} has no stages", place + 1));
        }
        if funnel.steps.iter().take(place).any(|earlier| earlier.name() == step.name()) {
            let problem = format!("two steps are named {:?}; give one a name", step.name());
            problems.add(&steps, problem);
        }
        check_window(&steps, step.window(), problems);
    }
    let named = funnel.steps.iter().flat_map(Step::stages);
    let known = stages(config);
    if config.inputs.contains_key(inputs::STAGES) {
        return;
    }
    for (at, stage) in named
        .map(|stage| (&steps, stage))
        .chain(funnel.exclude.iter().map(|stage| (&steps, stage)))
        .filter(|(_, stage)| !known.contains_key(stage.as_str()))
    {
        let meant = did_you_mean(stage, known.keys().copied());
        problems.add(at, format!("unknown stage {stage:?}{meant}"));
    }
}

fn check_rules(key: &str, funnel: &Funnel, problems: &mut Problems<'_>) {
    check_window(&format!("{key}.window"), funnel.window.as_deref(), problems);
    let is_any = funnel.order == StepOrder::Any;
    let has_windows = funnel.steps.iter().any(|s| s.is_optional() || s.window().is_some());
    if is_any && (!funnel.strict.is_empty() || has_windows) {
        let problem = "steps in any order have no windows of their own, are all alike, and are \
                       never strict";
        problems.add(&format!("{key}.order"), problem);
    }
    if is_any && !matches!(funnel.reentry, Reentry::First | Reentry::Best) {
        let problem = "steps in any order begin with whichever is first: \"first\" or \"best\"";
        problems.add(&format!("{key}.reentry"), problem);
    }
    let windows = funnel.steps.iter().filter_map(Step::window).chain(funnel.window.as_deref());
    let is_whole = |text: &str| window_seconds(text).is_none_or(|seconds| seconds % 86_400 == 0);
    if funnel.clock == WindowClock::Calendar && !windows.into_iter().all(is_whole) {
        problems.add(&format!("{key}.clock"), "\"calendar\" needs windows of whole days");
    }
}

fn check_window(key: &str, window: Option<&str>, problems: &mut Problems<'_>) {
    if let Some(text) = window.filter(|text| window_seconds(text).is_none()) {
        let problem =
            format!("expected a duration such as \"30 days\" or \"36 hours\", found {text:?}");
        problems.add(key, problem);
    }
}

/// Every stage that the configuration names, and those that are made where none is named.
fn stages(config: &Config) -> BTreeMap<&str, ()> {
    let all = std::iter::once(&config.pipeline).chain(config.pipelines.values());
    let mut known = BTreeMap::new();
    for pipeline in all {
        let named = [&pipeline.stages, &pipeline.won, &pipeline.lost];
        let named = named.into_iter().flatten().chain(pipeline.aliases.keys());
        known.extend(named.map(|name| (name.as_str(), ())));
        let made = [("won", &pipeline.won), ("lost", &pipeline.lost)];
        known
            .extend(made.iter().filter(|(_, names)| names.is_empty()).map(|(name, _)| (*name, ())));
    }
    known
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Flags;
    use super::super::load::load_text;
    use super::*;
    use crate::error::Error;

    const BASE: &str = "[pipeline]\nstages = [\"lead\", \"offer\"]\nwon = [\"won\"]\n\
                        [inputs.deal_events]\npath = \"events\"\n";

    #[track_caller]
    fn check(funnel: &str, expected: &[&str]) {
        let text = format!("{BASE}[funnels.f]\n{funnel}");
        match load_text(Path::new("d.toml"), &text, &Flags::default()) {
            Ok(_) => assert!(expected.is_empty(), "no complaint"),
            Err(Error::Config(problems)) => {
                let told = problems.iter().map(|p| p.split_once(": ").map_or("", |(_, p)| p));
                assert_eq!(told.collect::<Vec<_>>(), expected);
            }
            Err(other) => panic!("expected complaints, found {other:?}"),
        }
    }

    #[test]
    fn a_funnel_may_say_as_much_as_it_needs() {
        check("steps = [\"lead\", \"won\"]", &[]);
        check(
            "steps = [\"lead\", { stages = [\"offer\", \"lost\"], name = \"talk\", is_optional = true, \
             window = \"2 weeks\" }, \"won\"]\nwindow = \"30 days\"\nclock = \"calendar\"\n\
             strict = [\"strict_order\", \"strict_increase\"]\nreentry = \"every\"\n\
             breakdown = \"first_step\"",
            &[],
        );
    }

    #[test]
    fn every_mistake_is_named() {
        check(
            "steps = [\"lead\", \"ofer\"]\nwindow = \"a while\"",
            &[
                "funnels.f.steps: unknown stage \"ofer\", did you mean \"offer\"?",
                "funnels.f.window: expected a duration such as \"30 days\" or \"36 hours\", found \
                 \"a while\"",
            ],
        );
        check("steps = [\"lead\"]", &["funnels.f.steps: expected 2 steps or more, found 1"]);
    }

    #[test]
    fn windows_are_read_in_every_unit() {
        let told = ["30 days", "36 hours", "90min", "2w", "10 s", "1 month", "-1 days", "days"];
        let seconds = [Some(2_592_000), Some(129_600), Some(5_400), Some(1_209_600), Some(10)];
        assert_eq!(told.map(window_seconds)[..5], seconds);
        assert_eq!(told.map(window_seconds)[5..], [None; 3]);
    }
}
