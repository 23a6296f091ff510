//! The funnels of the configuration: their names, and their stages by code.

use crate::config::process::window_seconds;
use crate::config::{Config, StepOrder, WindowClock};
use crate::contract::StageTable;
use crate::error::Error;
use crate::fold::windowed::{Funnel, Step, Window};
use crate::metrics::FunnelNames;
use crate::relations::{Relation, Wanted};

/// The names of the funnels and of their steps, in the order of their codes.
pub(super) fn names(config: &Config) -> Vec<FunnelNames> {
    let of = |(name, funnel): (&String, &crate::config::Funnel)| FunnelNames {
        name: name.clone(),
        steps: step_names(funnel),
        optional: (1..)
            .zip(&funnel.steps)
            .filter(|(_, step)| step.is_optional())
            .map(|(number, _)| number)
            .collect(),
    };
    config.funnels.iter().map(of).collect()
}

/// What the rows of a funnel are called.
fn step_names(funnel: &crate::config::Funnel) -> Vec<String> {
    match funnel.order {
        StepOrder::Ordered => funnel.steps.iter().map(crate::config::Step::name).collect(),
        StepOrder::Any => (1..=funnel.steps.len())
            .map(|n| if n == 1 { "1 step".to_owned() } else { format!("{n} steps") })
            .collect(),
    }
}

/// The funnels, if somebody asks for them, with the codes of their stages.
///
/// # Errors
/// A stage that neither the configuration nor the registry of stages lists.
pub(super) fn of(
    config: &Config,
    stages: &StageTable,
    wanted: &Wanted,
) -> Result<Vec<Funnel>, Error> {
    if !wanted.relation(Relation::FunnelSteps) {
        return Ok(Vec::new());
    }
    let mut unknown = Vec::new();
    let mut funnels = Vec::new();
    for (name, funnel) in &config.funnels {
        let mut codes = |names: &[String]| {
            let mut all = Vec::new();
            for stage in names {
                let found = stages.named(funnel.pipeline.as_deref(), stage);
                if found.is_empty() {
                    unknown.push(format!("funnels.{name}.steps: unknown stage {stage:?}"));
                }
                all.extend(found);
            }
            all
        };
        let window = |text: Option<&str>, clock: WindowClock| {
            text.and_then(window_seconds).map(|seconds| Window { seconds, clock })
        };
        let steps = funnel.steps.iter().map(|step| Step {
            stages: codes(step.stages()),
            is_optional: step.is_optional(),
            window: window(step.window(), funnel.clock),
        });
        funnels.push(Funnel {
            name: name.clone(),
            steps: steps.collect(),
            window: window(funnel.window.as_deref(), funnel.clock),
            order: funnel.order,
            strict: funnel.strict.clone(),
            reentry: funnel.reentry,
            excluded: codes(&funnel.exclude),
            breakdown: funnel.breakdown,
        });
    }
    if unknown.is_empty() { Ok(funnels) } else { Err(Error::Config(unknown)) }
}
