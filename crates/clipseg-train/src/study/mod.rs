//! Studies: many training runs that differ in decoder, loss, random seed or one deliberate change, scored on the same
//! phrases, and a report that compares them.

pub(crate) mod alteration;
pub(crate) mod config;
pub(crate) mod config_checks;
pub(crate) mod folder;
pub(crate) mod material;
pub(crate) mod memory;
pub(crate) mod phrase_scores;
pub(crate) mod planned_run;
pub(crate) mod report;
pub(crate) mod result;
pub(crate) mod runner;
pub(crate) mod scores;
pub(crate) mod shown;
pub(crate) mod step_clock;
