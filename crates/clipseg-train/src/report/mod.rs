//! Files of a run that people read: the report, the curves and the example pictures.

#[cfg(feature = "plots")]
pub(crate) mod canvas;
#[cfg(feature = "plots")]
pub(crate) mod chart;
#[cfg(feature = "plots")]
pub(crate) mod curves;
#[cfg(feature = "plots")]
pub(crate) mod examples;
pub(crate) mod page;
