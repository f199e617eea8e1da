//! What a run leaves for people to read: the report, the curves and the example pictures.

pub(crate) mod canvas;
pub(crate) mod curves;
pub(crate) mod examples;
pub(crate) mod page;
