pub(crate) mod loads;
