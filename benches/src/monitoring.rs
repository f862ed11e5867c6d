pub(crate) fn run(_: poolscope_benches::Scale, _: &poolscope_benches::support::postgres::Postgres) {
}
