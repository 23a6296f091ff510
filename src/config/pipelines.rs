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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::load_text;
    use super::super::{Flags, Resolved};
    use crate::error::Error;

    const INPUT: &str = "[inputs.deal_events]\npath = \"events\"\n";

    fn load(text: &str) -> Result<Resolved, Error> {
        load_text(Path::new("d.toml"), &format!("{text}{INPUT}"), &Flags::default())
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        match load(text) {
            Err(Error::Config(problems)) => assert_eq!(problems, expected),
            other => panic!("expected complaints, found {other:?}"),
        }
    }

    #[test]
    fn one_id_may_stand_in_several_pipelines_but_not_twice_in_one() {
        let two = "[pipelines.a]\nstages = [\"lead\"]\n[pipelines.b]\nstages = [\"lead\"]\n";
        let config = load(two).expect("two pipelines").config;
        assert_eq!(config.pipelines.keys().collect::<Vec<_>>(), ["a", "b"]);
        check_refused(
            "[pipelines.a]\nstages = [\"lead\", \"offer\"]\nlost = [\"lead\"]\n\
             [pipelines.b]\nwon = [\"won\"]\n",
            &[
                "d.toml:3: pipelines.a.lost: stage \"lead\" is also in pipelines.a.stages",
                "d.toml:4: pipelines.b.stages: list the ids of the open stages, in order",
            ],
        );
    }

    #[test]
    fn the_pipeline_for_all_others_is_called_default_and_filters() {
        check_refused(
            "[pipeline]\nstages = [\"x\"]\n[pipelines.default]\nstages = [\"lead\"]\n\
             only = [\"y\"]\n",
            &[
                "d.toml:3: pipelines.default: [pipeline] is called \"default\", too: leave out \
                 one of the two",
                "d.toml:5: pipelines.default.only: belongs to [pipeline]",
            ],
        );
    }

    #[test]
    fn a_unit_of_probability_needs_an_input_that_has_one() {
        let spend = "[pipeline]\nstages = [\"x\"]\n[inputs.spend]\npath = \"s\"\n\
                     probability_unit = \"percent\"\n";
        check_refused(
            spend,
            &["d.toml:5: inputs.spend.probability_unit: this input has no column probability"],
        );
        let events =
            format!("[pipeline]\nstages = [\"x\"]\n{INPUT}probability_unit = \"percent\"\n");
        assert!(load_text(Path::new("d.toml"), &events, &Flags::default()).is_ok());
    }
}
