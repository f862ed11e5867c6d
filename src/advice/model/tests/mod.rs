mod accuracy;
mod erlang;
mod halving;
pub(crate) mod loads;
mod properties;
