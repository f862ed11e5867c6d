pub(crate) mod loads;
mod properties;
