//! The diesel instrumentation of each connection that the pool opens.

mod finished;
mod started;

use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};
use opentelemetry::trace::SpanKind;
use tokio::time::Instant;

use super::failure::lost;
use super::in_flight::InFlight;
use super::options::QueryOptions;
use super::span::{Start, open};
use super::state::QueryState;
use super::statement::Printed;
use super::statement_cache::{CachedStatement, Remembered, StatementCache};
use super::text::{self, SessionChange};
use super::transaction::Transaction;
use crate::backend::Session;
use crate::checkout::TransactionState;
use crate::checkout::query_context::{QueryContext, QueryObserver, StatementId};
use crate::settings::DatabaseKind;

/// Observes the queries on a connection: counts and times them, opens their spans, logs them if that
/// is turned on, and detects transactions opened by raw SQL.
///
/// It replaces diesel's default instrumentation, and forwards every event to it.
pub(crate) struct QueryInstrumentation {
    pub(crate) state: Arc<QueryState>,
    options: Arc<QueryOptions>,
    /// The session, if it has access to the wire: then it knows better than diesel when and how a
    /// query ends.
    wire: Option<Arc<dyn Session>>,
    next: Option<Box<dyn Instrumentation>>,
    under_way: InFlight,
    transaction: Option<Transaction>,
    /// The buffer for printing, which is reused.
    printed: Printed,
    identities: StatementCache,
    /// Whether the last query had a span that was recorded.
    recorded: bool,
    /// Whether the next statement begins a transaction, and the session does not show whether it is
    /// read-only.
    begins: bool,
}

/// The part of the query context that a query in flight keeps.
struct Owner {
    observer: Weak<dyn QueryObserver>,
    in_request: bool,
    /// The whole context, copied only if a span or a log event may belong to its trace.
    occupant: Option<QueryContext>,
}

impl QueryInstrumentation {
    /// Creates the instrumentation of a connection with this session. Inspects each statement for
    /// transactions only if `see_transactions` is set.
    pub(crate) fn new(
        options: Arc<QueryOptions>,
        session: Option<&Arc<dyn Session>>,
        see_transactions: bool,
    ) -> Self {
        Self {
            state: Arc::new(QueryState::new(options.kind, see_transactions)),
            wire: session
                .filter(|session| session.sent().is_some())
                .map(Arc::clone),
            next: get_default_instrumentation(),
            under_way: InFlight::new(options.kind == DatabaseKind::Postgres),
            transaction: None,
            printed: Printed::default(),
            identities: StatementCache::default(),
            recorded: false,
            begins: false,
            options,
        }
    }

    /// Identifies the statement that has this hash.
    fn identify(&mut self, hash: u64, query: &dyn Display) -> CachedStatement {
        let Self {
            printed,
            identities,
            options,
            ..
        } = self;
        let mut read = || text::describe(printed.of(hash, query), options.kind);
        let remembered = identities.find(hash, &mut read);
        let mut change = || change_of(printed.of(hash, query), options);
        let (id, change) = match remembered {
            Some(Remembered { known, change: old }) => {
                (known.id, *old.get_or_insert_with(&mut change))
            }
            None => (StatementId::OTHER, change()),
        };
        CachedStatement { hash, id, change }
    }

    fn remembered(&mut self, hash: u64, query: &dyn Display) -> Option<&mut Remembered> {
        let (printed, kind) = (&mut self.printed, self.options.kind);
        let mut read = || text::describe(printed.of(hash, query), kind);
        self.identities.find(hash, &mut read)
    }

    /// Returns what a statement that nobody identifies leaves in its session.
    fn change(&mut self, query: &dyn Display) -> SessionChange {
        if !self.options.session_changes {
            return SessionChange::None;
        }
        let hash = self.printed.print(query);
        change_of(self.printed.of(hash, query), &self.options)
    }

    /// Stores the statement sent last in the context slot of the connection.
    fn keep(&mut self, statement: CachedStatement, query: &dyn Display) {
        let slot = &self.state.slot;
        match statement.id {
            StatementId::OTHER => slot.keep_other(self.printed.give(statement.hash, query)),
            id => slot.keep_statement(id),
        }
    }

    /// Returns the context of a query that starts, and counts the query in its request. Returns `None`
    /// for a query of the pool itself.
    fn owner(&mut self) -> Option<Owner> {
        let Self {
            state,
            options,
            identities,
            ..
        } = self;
        state.slot.statement_starts(|occupant| {
            let observer = &occupant.observer;
            if let Some(request) = &occupant.request {
                request.update(Arc::as_ptr(observer), |tally| tally.used.queries += 1);
            }
            let known = options.echo || options.spans && observer.listens();
            Owner {
                observer: identities.of(observer),
                in_request: occupant.request.is_some(),
                occupant: known.then(|| occupant.clone()),
            }
        })
    }

    fn occupant(&self) -> Option<QueryContext> {
        self.state.slot.read(QueryContext::clone)
    }

    fn transaction_begins(&mut self) {
        self.state.nested_commit.store(false, Relaxed);
        let shows = self.wire.as_ref().and_then(|wire| wire.read_only());
        self.begins = shows.is_none();
        let occupant = self
            .occupant()
            .filter(|occupant| self.options.spans && occupant.observer.listens());
        let start = Start {
            name: Some("transaction"),
            statement: None,
            kind: SpanKind::Internal,
            likely: false,
        };
        self.transaction = occupant
            .and_then(|occupant| open(&occupant, &self.options, &start))
            .map(Transaction::new);
    }

    fn transaction_ends(&mut self, commits: bool) {
        self.state.nested_commit.store(false, Relaxed);
        self.state.in_read_only_transaction.store(false, Relaxed);
        if let Some(transaction) = &mut self.transaction {
            // The server executes the COMMIT of a failed transaction as a rollback.
            let failed = || self.wire.as_deref().is_some_and(is_in_failed_transaction);
            transaction.ends(commits && !failed());
        }
    }
}

impl Instrumentation for QueryInstrumentation {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => self.started(query),
            InstrumentationEvent::FinishQuery { query, error, .. } => self.finished(query, *error),
            InstrumentationEvent::CacheQuery { sql, .. } => self.prepared(sql),
            InstrumentationEvent::CommitTransaction { depth, .. } if depth.get() > 1 => {
                self.state.nested_commit.store(true, Relaxed);
            }
            InstrumentationEvent::BeginTransaction { depth, .. } if depth.get() == 1 => {
                self.transaction_begins();
            }
            InstrumentationEvent::CommitTransaction { depth, .. } if depth.get() == 1 => {
                self.transaction_ends(true);
            }
            InstrumentationEvent::RollbackTransaction { depth, .. } if depth.get() == 1 => {
                self.transaction_ends(false);
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// Returns what a statement leaves in its session, if that is of interest.
fn change_of(text: &str, options: &QueryOptions) -> SessionChange {
    match options.session_changes {
        true => text::session_change(text, options.kind),
        false => SessionChange::None,
    }
}

/// Returns whether the current transaction has failed. Its state is known only when all commands are
/// answered; the error of an unanswered command may have arrived already.
fn is_in_failed_transaction(wire: &dyn Session) -> bool {
    let unanswered = wire.answered().zip(wire.sent());
    let failing = unanswered.and_then(|(answered, sent)| wire.outcome(answered + 1..=sent));
    failing.is_some_and(|outcome| outcome.error.is_some())
        || wire.readings().transaction == Some(TransactionState::Failed)
}

impl Drop for QueryInstrumentation {
    fn drop(&mut self) {
        // diesel-async sends no event for a query whose connection has failed.
        if self
            .wire
            .as_ref()
            .is_some_and(|wire| wire.readings().is_closed)
            && !self.state.given_up.load(Relaxed)
        {
            let lost = lost(self.wire.as_deref());
            for running in self.under_way.drain() {
                running.end(Instant::now(), Some(&lost), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::checkout::ConnectionFacts;
    use crate::checkout::query_context::{Ended, IdentifiedStatement, Repeat, Statement};
    use crate::request::attribution::Attribution;
    use diesel::connection::StrQueryHelper;
    use opentelemetry::global::BoxedSpan;
    use opentelemetry::trace::{
        SpanBuilder, SpanContext, TraceContextExt, TraceFlags, Tracer, TracerProvider,
    };
    use opentelemetry::{Context, KeyValue};
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

    fn watch(see_transactions: bool) -> QueryInstrumentation {
        watch_over(None, see_transactions)
    }

    fn watch_over(
        session: Option<&Arc<dyn Session>>,
        see_transactions: bool,
    ) -> QueryInstrumentation {
        let options = QueryOptions {
            kind: DatabaseKind::Mysql,
            attributes: vec![KeyValue::new("db.system.name", "mysql")],
            spans: true,
            span_text: true,
            echo: false,
            echo_binds: false,
            n_plus_one: None,
            session_changes: true,
        };
        QueryInstrumentation::new(Arc::new(options), session, see_transactions)
    }

    /// An observer that records the number of spans opened, the statements read, and the statements of
    /// the queries ended.
    #[derive(Default)]
    struct Written {
        opened: AtomicUsize,
        builders: Mutex<Vec<SpanBuilder>>,
        read: Mutex<Vec<Statement>>,
        ended: Mutex<Vec<Option<StatementId>>>,
    }

    impl QueryObserver for Written {
        fn listens(&self) -> bool {
            true
        }

        fn open_span(&self, builder: SpanBuilder, _: &Context) -> BoxedSpan {
            self.opened.fetch_add(1, Relaxed);
            self.builders.lock().unwrap().push(builder.clone());
            let tracer = opentelemetry::global::tracer("none");
            opentelemetry::trace::Tracer::build(&tracer, builder)
        }

        fn statement(
            &self,
            _: u64,
            read: &mut dyn FnMut() -> Statement,
        ) -> Option<IdentifiedStatement> {
            let mut all = self.read.lock().unwrap();
            all.push(read());
            if all.last()?.text.contains("too_many") {
                return None;
            }
            Some(IdentifiedStatement {
                id: StatementId::new(all.len()),
                statement: Arc::new(all.last()?.clone()),
            })
        }

        fn summary(&self, id: StatementId) -> Option<Arc<str>> {
            let all = self.read.lock().unwrap();
            Some(Arc::clone(&all.get(id.index() - 1)?.summary))
        }

        fn query_ended(&self, query: &Ended<'_>) {
            self.ended.lock().unwrap().push(query.statement);
        }

        fn repeated(&self, _: &Attribution, _: &Repeat<'_>) {}
    }

    fn occupied(watch: &QueryInstrumentation) -> Arc<Written> {
        occupied_in(watch, Context::new())
    }

    fn occupied_in(watch: &QueryInstrumentation, context: Context) -> Arc<Written> {
        let observer = Arc::<Written>::default();
        watch.state.slot.set(QueryContext {
            observer: Arc::clone(&observer) as _,
            context,
            request: None,
            caller: std::panic::Location::caller(),
        });
        observer
    }

    fn run(watch: &mut QueryInstrumentation, statement: &str, finishes: bool) {
        let query = StrQueryHelper::new(statement);
        watch.on_connection_event(InstrumentationEvent::start_query(&query));
        if finishes {
            watch.on_connection_event(InstrumentationEvent::finish_query(&query, None));
        }
    }

    #[test]
    fn statements_are_read_once_per_connection_and_observer_without_values() {
        let mut watch = watch(false);
        run(&mut watch, "SELECT 1", true);
        let first = occupied(&watch);
        for _ in 0..3 {
            run(&mut watch, "SELECT name FROM users WHERE id = 7", true);
        }
        run(&mut watch, "DELETE FROM users", true);
        let known = |observer: &Written| {
            let read = observer.read.lock().unwrap();
            let read = read
                .iter()
                .map(|it| [&it.summary, &it.text].map(|it| it.to_string()));
            (
                read.collect::<Vec<_>>(),
                observer.ended.lock().unwrap().clone(),
            )
        };
        let (read, ended) = known(&first);
        let select = ["SELECT users", "SELECT name FROM users WHERE id = ?"];
        let delete = ["DELETE users", "DELETE FROM users"];
        assert_eq!(read, [select, delete]);
        assert_eq!(ended, [1, 1, 1, 2].map(|id| Some(StatementId::new(id))));
        let second = occupied(&watch);
        run(&mut watch, "DELETE FROM users", true);
        assert_eq!(
            known(&second).1,
            [Some(StatementId::new(1))],
            "with the second observer's id"
        );
    }

    #[test]
    fn the_sampler_is_called_unless_the_local_trace_is_unsampled() {
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOff)
            .build();
        let here = Context::new().with_span(provider.tracer("test").start("request"));
        let unsampled = here.span().span_context().clone();
        let (trace, span) = (unsampled.trace_id(), unsampled.span_id());
        let outside =
            SpanContext::new(trace, span, TraceFlags::default(), true, Default::default());
        let outside = Context::new().with_remote_span_context(outside);
        for (context, asked) in [(Context::new(), 1), (outside, 1), (here, 0)] {
            let mut watch = watch(false);
            let observer = occupied_in(&watch, context.clone());
            run(&mut watch, "SELECT 1", true);
            assert_eq!(observer.opened.load(Relaxed), asked, "{context:?}");
        }
    }

    #[test]
    fn a_sampler_sees_the_database_and_the_summary_where_it_is_known() {
        for (printed, name, keys) in [
            (
                true,
                "SELECT users",
                &["db.system.name", "db.query.summary"][..],
            ),
            (false, "query", &["db.system.name"]),
        ] {
            let mut watch = watch(printed);
            let observer = occupied(&watch);
            run(&mut watch, "SELECT name FROM users WHERE id = 7", true);
            let builders = observer.builders.lock().unwrap();
            assert_eq!(builders[0].name, name);
            let attributes = builders[0].attributes.iter().flatten();
            let given: Vec<_> = attributes.map(|it| it.key.as_str()).collect();
            assert_eq!(given, keys);
        }
    }

    #[test]
    fn the_last_statement_is_found_by_id_or_by_text_beyond_the_limit() {
        let mut watch = watch(false);
        let _observer = occupied(&watch);
        let state = Arc::clone(&watch.state);
        assert_eq!(state.last_query(), None);
        for (statement, known) in [
            ("SELECT name FROM users", Some("SELECT users")),
            ("DELETE FROM users", Some("DELETE users")),
            ("DELETE FROM too_many", Some("DELETE too_many")),
            ("SELECT name FROM users", Some("SELECT users")),
        ] {
            run(&mut watch, statement, true);
            assert_eq!(state.last_query().as_deref(), known);
        }
        state.slot.clear();
        assert_eq!(state.last_query(), None);
    }

    #[test]
    fn an_abandoned_query_is_identified_if_its_text_was_printed() {
        for (see_transactions, known) in [(true, Some(StatementId::new(1))), (false, None)] {
            let mut watch = watch(see_transactions);
            let observer = occupied(&watch);
            run(&mut watch, "SELECT 1", false);
            drop(watch);
            assert_eq!(*observer.ended.lock().unwrap(), [known]);
        }
    }

    #[test]
    fn queries_in_flight_are_counted_and_raw_transactions_detected() {
        let mut watch = watch(true);
        let state = Arc::clone(&watch.state);
        let begin = StrQueryHelper::new("BEGIN");
        watch.on_connection_event(InstrumentationEvent::start_query(&begin));
        assert_eq!(state.in_flight(), 1);
        assert_eq!(state.transaction(), Some(TransactionState::Open));
        watch.on_connection_event(InstrumentationEvent::finish_query(&begin, None));
        let commit = StrQueryHelper::new("COMMIT");
        watch.on_connection_event(InstrumentationEvent::start_query(&commit));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        assert_eq!(state.in_flight(), 0);
        assert_eq!(state.transaction(), Some(TransactionState::Idle));
    }

    #[test]
    fn a_hold_knows_its_first_and_last_query_even_if_the_session_counts_commands() {
        #[derive(Debug)]
        struct Counting;
        impl Session for Counting {
            fn process_id(&self) -> Option<u64> {
                None
            }
            fn sent(&self) -> Option<u64> {
                Some(7)
            }
            fn answered(&self) -> Option<u64> {
                Some(7)
            }
        }
        let session: Arc<dyn Session> = Arc::new(Counting);
        for session in [None, Some(&session)] {
            let mut watch = watch_over(session, false);
            let (state, start) = (Arc::clone(&watch.state), Instant::now());
            state.hold_begins();
            assert_eq!(state.queried(start), None);
            for _ in 0..2 {
                let query = StrQueryHelper::new("SELECT 1");
                let before = nanos_since(start);
                watch.on_connection_event(InstrumentationEvent::start_query(&query));
                let (first, _) = state.queried(start).expect("a query has begun");
                let sent = nanos_since(start);
                watch.on_connection_event(InstrumentationEvent::finish_query(&query, None));
                let (begun, last) = state.queried(start).expect("a query has ended");
                assert_eq!(begun, first, "the first query stays the first");
                assert!(first <= sent && sent <= last && last <= nanos_since(start));
                assert!(last >= before, "the last query is the last");
            }
            state.hold_begins();
            assert_eq!(state.queried(start), None, "a new hold has no query yet");
        }
    }

    fn nanos_since(start: Instant) -> u64 {
        start.elapsed().as_nanos() as u64
    }

    #[test]
    fn an_abandoned_query_does_not_count_as_busy_time() {
        let mut watch = watch(false);
        let state = Arc::clone(&watch.state);
        let (dropped, next) = (
            StrQueryHelper::new("SELECT 1"),
            StrQueryHelper::new("SELECT 2"),
        );
        watch.on_connection_event(InstrumentationEvent::start_query(&dropped));
        watch.on_connection_event(InstrumentationEvent::start_query(&next));
        watch.on_connection_event(InstrumentationEvent::finish_query(&next, None));
        assert_eq!((watch.under_way.len(), state.in_flight()), (0, 1));
        let busy = state.busy();
        // Time in which nothing runs.
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(state.busy(), busy);
    }
}
