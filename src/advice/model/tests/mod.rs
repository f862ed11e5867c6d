mod accuracy;
mod erlang;
pub(crate) mod loads;
mod properties;
