//! The report of a study: tables, figures and contact sheets, drawn from its result files without training.

pub(crate) mod cells;
pub(crate) mod comparisons;
pub(crate) mod costs;
#[cfg(feature = "plots")]
pub(crate) mod figures;
pub(crate) mod loaded;
pub(crate) mod page;
#[cfg(feature = "plots")]
pub(crate) mod panels;
pub(crate) mod sheets;
pub(crate) mod tables;
