//! What a pipeline, or each of several, must keep.

use std::collections::BTreeMap;

use super::places::Problems;
use super::resolve::did_you_mean;
use super::{Config, Pipeline, inputs};
use crate::contract::DEFAULT_PIPELINE;
use crate::relations::deals::STAGES_MAX;

/// Gathers every violation.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    let has_registry = config.inputs.contains_key(inputs::STAGES);
    let list = "list the ids of the open stages, in order";
    if config.pipeline.stages.is_empty() && config.pipelines.is_empty() && !has_registry {
        problems.add("pipeline.stages", list);
    }
    check_one("pipeline", &config.pipeline, problems);
    for (name, pipeline) in &config.pipelines {
        let key = format!("pipelines.{name}");
        if name.trim() != name || name.is_empty() {
            problems.add(&key, "a pipeline needs a name, without white space around it");
        }
        if name == DEFAULT_PIPELINE && !config.pipeline.stages.is_empty() {
            let problem = "[pipeline] is called \"default\", too: leave out one of the two";
            problems.add(&key, problem);
        }
        if pipeline.stages.is_empty() && !has_registry {
            problems.add(&format!("{key}.stages"), list);
        }
        if !pipeline.only.is_empty() {
            problems.add(&format!("{key}.only"), "belongs to [pipeline]");
        }
        check_one(&key, pipeline, problems);
    }
}

fn check_one(at: &str, pipeline: &Pipeline, problems: &mut Problems<'_>) {
    if pipeline.stages.len() > STAGES_MAX {
        let problem = format!(
            "{} open stages, of at most {STAGES_MAX}; join some of them under [{at}] aliases",
            pipeline.stages.len()
        );
        problems.add(&format!("{at}.stages"), &problem);
    }
    let classes = [
        ("stages", &pipeline.stages),
        ("won", &pipeline.won),
        ("lost", &pipeline.lost),
        ("ignored", &pipeline.ignored),
    ];
    let mut first_seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (class, names) in classes {
        let key = format!("{at}.{class}");
        for name in names {
            if name.is_empty() {
                problems.add(&key, "a stage id is empty");
            }
            match first_seen.insert(name, class) {
                Some(other) if other == class => {
                    problems.add(&key, format!("stage {name:?} is listed twice"));
                }
                Some(other) => {
                    problems.add(&key, format!("stage {name:?} is also in {at}.{other}"));
                }
                None => {}
            }
        }
    }
    for (alias, stage) in &pipeline.aliases {
        let key = format!("{at}.aliases.{alias}");
        if first_seen.contains_key(alias.as_str()) {
            problems.add(&key, "is itself the id of a stage");
        }
        if !first_seen.contains_key(stage.as_str()) {
            let meant = did_you_mean(stage, first_seen.keys().copied());
            problems.add(&key, format!("unknown stage {stage:?}{meant}"));
        }
    }
}
