//! The instrumentation that is set on each connection the pool opens.

use std::fmt::Display;
use std::sync::{Arc, Weak};

use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};
use diesel::result::Error;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    DB_OPERATION_NAME, DB_QUERY_SUMMARY, DB_QUERY_TEXT,
};
use tokio::time::Instant;

use super::failure::{by_code, failure, is_connection_failure};
use super::identified::{Identified, Identities};
use super::options::QueryOptions;
use super::running::Running;
use super::state::QueryState;
use super::statement::{self, TransactionEffect, transaction_effect};
use super::text::describe;
use super::transaction::Transaction;
use super::under_way::{Finished, UnderWay};
use crate::backend::{Outcome, Session};
use crate::checkout::TransactionState;
use crate::occupant::{Occupant, QueryFailure, QueryObserver, Repeat};
use crate::settings::DatabaseKind;

/// The name of a query's span when its summary is turned off.
const UNNAMED: &str = "query";

/// Sees each query on one connection: counts it, times it, makes its span, logs it when asked, and
/// notices a transaction that raw SQL opened.
///
/// It forwards every event to diesel's default instrumentation, which it takes the place of.
pub(crate) struct QueryWatch {
    state: Arc<QueryState>,
    options: Arc<QueryOptions>,
    /// Where there is a wire, it knows better than diesel when a query ends, and how.
    wire: Option<Arc<dyn Session>>,
    next: Option<Box<dyn Instrumentation>>,
    under_way: UnderWay,
    transaction: Option<Transaction>,
    /// Printing needs a place; this one is kept.
    printed: String,
    /// Whether the statement of this event is in it.
    is_printed: bool,
    /// Whether the slot has the statement sent last.
    is_kept: bool,
    identities: Identities,
}

impl QueryWatch {
    /// For a connection with this session. Looks at each statement for `BEGIN`s only when asked.
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
            under_way: UnderWay::new(options.kind == DatabaseKind::Postgres),
            transaction: None,
            printed: String::new(),
            is_printed: false,
            is_kept: false,
            identities: Identities::default(),
            options,
        }
    }

    pub(crate) fn state(&self) -> Arc<QueryState> {
        Arc::clone(&self.state)
    }

    fn print(&mut self, query: &dyn Display) -> &str {
        if !self.is_printed {
            statement::print(query, &mut self.printed);
            self.is_printed = true;
        }
        &self.printed
    }

    /// Keeps what was printed for whoever wants to know what was sent last over the connection.
    fn keep(&mut self) {
        self.state.slot.keep_statement(&mut self.printed);
        self.is_printed = false;
        // Of several under way, the one that is told is the last that has finished.
        self.is_kept = self.under_way.len() <= 1;
    }

    /// Which statement was printed.
    fn identify(&mut self, observer: &Weak<dyn QueryObserver>) -> Option<Identified> {
        self.identities
            .of(&self.printed, observer, self.options.kind)
    }

    fn started(&mut self, query: &dyn Display) {
        self.is_printed = false;
        self.state.started();
        if self.state.sees_transactions() {
            let effect = transaction_effect(self.print(query));
            match effect {
                TransactionEffect::Begins => self.state.set_in_transaction(true),
                TransactionEffect::Ends => self.state.set_in_transaction(false),
                TransactionEffect::None => {}
            }
        }
        let occupant = self.state.slot.statement_starts();
        self.is_kept = false;
        if let Some(Occupant {
            observer,
            request: Some(request),
            ..
        }) = &occupant
        {
            request.update(Arc::as_ptr(observer), |tally| tally.used.queries += 1);
        }
        let mut span = occupant
            .as_ref()
            .filter(|_| self.options.spans)
            .map(|occupant| open(occupant, SpanKind::Client));
        // Printing a statement costs; without a reason it is not done. A second one under way has
        // to be told from the first.
        let recording = span.as_ref().is_some_and(Span::is_recording);
        let wanted = recording || self.under_way.len() > 0;
        let echoed = self.options.echo && occupant.is_some();
        if wanted || echoed {
            self.print(query);
        }
        let text = wanted.then(|| self.printed.clone());
        if let (Some(span), Some(text)) = (&mut span, &text)
            && recording
        {
            describe_on(span, text, &self.options);
        }
        // The pool's own pings are not the app's statements.
        let echo = occupant.as_ref().filter(|_| echoed);
        let echo = echo.map(|occupant| {
            let statement = match self.options.echo_binds {
                true => query.to_string(),
                false => self.printed.clone(),
            };
            (statement, occupant.context.clone())
        });
        let observer = occupant.map(|occupant| Arc::downgrade(&occupant.observer));
        // Should it be given up, it is known what was; where its text costs, only if it finishes.
        let statement = match &observer {
            Some(observer) if self.is_printed => self.identify(observer),
            _ => None,
        };
        let wire = self.wire.as_ref();
        self.under_way.push(Running {
            since: Instant::now(),
            options: Arc::clone(&self.options),
            observer,
            statement,
            span: span.filter(|_| recording),
            text,
            echo,
            answered_before: wire.and_then(|wire| wire.answered()),
            sent_before: wire.and_then(|wire| wire.sent()),
            sent_after: None,
            shared: false,
            ended: false,
        });
        if self.is_printed {
            self.keep();
        }
    }

    /// A statement is prepared that was not printed at its start.
    fn prepared(&mut self, statement: &str) {
        if !self.is_kept && self.under_way.len() > 0 {
            self.is_printed = false;
            self.print(&statement);
            // In a pipeline it is not sure whose it is.
            if let Some(running) = self.under_way.only()
                && let Some(observer) = &running.observer
            {
                let Self {
                    identities,
                    printed,
                    options,
                    ..
                } = self;
                running.statement = identities.of(printed, observer, options.kind);
            }
            self.keep();
        }
    }

    fn finished(&mut self, query: &dyn Display, error: Option<&Error>) {
        self.is_printed = false;
        self.state.finished();
        if error.is_some_and(is_connection_failure) {
            self.state.set_connection_failed();
        }
        if self.under_way.len() > 1 {
            self.print(query);
        }
        let Some(Finished {
            mut running,
            behind,
        }) = self.under_way.finish(&self.printed)
        else {
            return;
        };
        self.state.set_live(self.under_way.len() > 0);
        if running.statement.is_none()
            && let Some(observer) = &running.observer
        {
            self.print(query);
            running.statement = self.identify(observer);
        }
        if let Some(statement) = running.statement {
            self.count_in_request(query, statement.hash);
        }
        if !self.is_kept {
            // The database's own text by now, where it has one: to copy it is cheap.
            self.print(query);
            self.keep();
        }
        // Its commands, to prepare, to execute and to close: what was sent later belongs to those
        // behind it. If nothing was sent for it at all, it failed on this side.
        let wire = self.wire.as_ref();
        let commands = running
            .sent_before
            .zip(wire.and_then(|wire| wire.sent()))
            .map(|(before, sent)| before + 1..=sent.saturating_sub(behind))
            .filter(|commands| !commands.is_empty());
        let outcome = wire
            .zip(commands.clone())
            .and_then(|(wire, commands)| wire.outcome(commands));
        // In a pipeline it is not sure whose command it is.
        let told = outcome.filter(|_| !running.shared);
        let code = told.and_then(|outcome| outcome.error);
        let failure = match error {
            Some(error) => Some(failure(error, code)),
            // After the first row, which is all that diesel has seen.
            None => code.map(by_code),
        };
        if let Some(transaction) = &mut self.transaction
            && transaction.statement_ended(failure.as_ref())
        {
            self.transaction = None;
        }
        match (&self.wire, commands, outcome) {
            (Some(wire), Some(commands), Some(outcome))
                if failure.is_none() && !outcome.answered =>
            {
                let (of, last) = (Arc::clone(wire), *commands.end());
                let done = move || end_by(running, of.outcome(commands));
                wire.when_answered(last, Box::new(done));
            }
            _ => running.end(failure.as_ref(), told.map(|outcome| outcome.rows)),
        }
    }

    fn occupant(&self) -> Option<Occupant> {
        self.state.slot.read(Occupant::clone)
    }

    /// Counts the statement within its request, to find those that are sent again and again.
    fn count_in_request(&mut self, query: &dyn Display, hash: u64) {
        let Some(limit) = self.options.n_plus_one else {
            return;
        };
        let Some(Occupant {
            observer,
            request: Some(request),
            ..
        }) = self.occupant()
        else {
            return;
        };
        let book = Arc::as_ptr(&observer);
        let times = request.update(book, |tally| tally.statement(hash));
        if let Some(times) = times
            && times == limit.saturating_add(1)
        {
            let kind = self.options.kind;
            let told = describe(self.print(query), kind, true, true);
            let repeat = Repeat {
                text: &told.text,
                summary: &told.summary,
                times,
            };
            observer.repeated(&request, &repeat);
        }
    }

    fn transaction_begins(&mut self) {
        let occupant = self.occupant().filter(|_| self.options.spans);
        self.transaction = occupant
            .map(|occupant| open(&occupant, SpanKind::Internal))
            .filter(Span::is_recording)
            .map(|mut span| {
                span.update_name("transaction");
                span.set_attributes(self.options.attributes.iter().cloned());
                Transaction::new(span)
            });
    }
}

/// Ends a query by what the server has answered, after diesel had seen the first response.
fn end_by(running: Running, outcome: Option<Outcome>) {
    let told = outcome.filter(|_| !running.shared);
    let failure = match (told.and_then(|outcome| outcome.error), outcome) {
        (Some(code), _) => Some(by_code(code)),
        (None, Some(outcome)) if !outcome.answered => Some(QueryFailure::LOST),
        (None, _) => None,
    };
    running.end(failure.as_ref(), told.map(|outcome| outcome.rows));
}

/// A span in the trace of whoever holds the connection: child of the span that is current here,
/// else of the one at the checkout. SQLite's queries run on a thread where none is current.
fn open(occupant: &Occupant, kind: SpanKind) -> BoxedSpan {
    let builder = SpanBuilder::from_name(UNNAMED).with_kind(kind);
    let observer = &occupant.observer;
    Context::map_current(|current| {
        let parent = match current.has_active_span() {
            true => current,
            false => &occupant.context,
        };
        observer.open_span(builder, parent)
    })
}

/// Says on a span what the query is.
fn describe_on(span: &mut BoxedSpan, statement: &str, options: &QueryOptions) {
    span.set_attributes(options.attributes.iter().cloned());
    if !options.span_text && !options.span_summary {
        return;
    }
    let told = describe(
        statement,
        options.kind,
        options.span_text,
        options.span_summary,
    );
    // A statement that begins with no word of SQL has none.
    if options.span_summary && !told.summary.is_empty() {
        span.update_name(told.summary.clone());
        span.set_attribute(KeyValue::new(DB_QUERY_SUMMARY, told.summary));
        if let Some(operation) = told.operation {
            span.set_attribute(KeyValue::new(DB_OPERATION_NAME, operation));
        }
    }
    if options.span_text {
        span.set_attribute(KeyValue::new(DB_QUERY_TEXT, told.text));
    }
}

impl Instrumentation for QueryWatch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => self.started(query),
            InstrumentationEvent::FinishQuery { query, error, .. } => self.finished(query, *error),
            InstrumentationEvent::CacheQuery { sql, .. } => self.prepared(sql),
            InstrumentationEvent::BeginTransaction { depth, .. } if depth.get() == 1 => {
                self.transaction_begins();
            }
            InstrumentationEvent::CommitTransaction { depth, .. } if depth.get() == 1 => {
                // To the COMMIT of a failed transaction the server answers with a rollback.
                let failed = self.wire.as_deref().is_some_and(is_in_failed_transaction);
                match &mut self.transaction {
                    Some(transaction) if failed => transaction.rolls_back(),
                    Some(transaction) => transaction.commits(),
                    None => {}
                }
            }
            InstrumentationEvent::RollbackTransaction { depth, .. } if depth.get() == 1 => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.rolls_back();
                }
            }
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// The state is known when all is answered. Of what is not, an error may have come already.
fn is_in_failed_transaction(wire: &dyn Session) -> bool {
    let unanswered = wire.answered().zip(wire.sent());
    let failing = unanswered.and_then(|(answered, sent)| wire.outcome(answered + 1..=sent));
    failing.is_some_and(|outcome| outcome.error.is_some())
        || wire.transaction() == Some(TransactionState::Failed)
}

impl Drop for QueryWatch {
    fn drop(&mut self) {
        // diesel-async says nothing of a query whose connection has failed under it.
        if self.wire.as_ref().is_some_and(|wire| wire.is_closed()) && !self.state.are_given_up() {
            for running in self.under_way.drain() {
                running.end(Some(&QueryFailure::LOST), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::attribution::Attribution;
    use crate::occupant::{Ended, Statement, StatementId};
    use diesel::connection::StrQueryHelper;

    fn watch(see_transactions: bool) -> QueryWatch {
        let options = QueryOptions {
            kind: DatabaseKind::Mysql,
            attributes: Vec::new(),
            spans: true,
            span_text: true,
            span_summary: true,
            echo: false,
            echo_binds: false,
            n_plus_one: None,
        };
        QueryWatch::new(Arc::new(options), None, see_transactions)
    }

    /// What it was told: statements read, and queries ended, by statement.
    #[derive(Default)]
    struct Written {
        read: Mutex<Vec<Statement>>,
        ended: Mutex<Vec<Option<StatementId>>>,
    }

    impl QueryObserver for Written {
        fn open_span(&self, builder: SpanBuilder, _: &Context) -> BoxedSpan {
            let tracer = opentelemetry::global::tracer("none");
            opentelemetry::trace::Tracer::build(&tracer, builder)
        }

        fn statement(&self, _: u64, read: &mut dyn FnMut() -> Statement) -> StatementId {
            let mut all = self.read.lock().unwrap();
            all.push(read());
            StatementId::new(all.len())
        }

        fn query_ended(&self, query: &Ended<'_>) {
            self.ended.lock().unwrap().push(query.statement);
        }

        fn repeated(&self, _: &Attribution, _: &Repeat<'_>) {}
    }

    fn occupied(watch: &QueryWatch) -> Arc<Written> {
        let observer = Arc::<Written>::default();
        watch.state().slot.occupy(Occupant {
            observer: Arc::clone(&observer) as _,
            context: Context::new(),
            request: None,
        });
        observer
    }

    fn run(watch: &mut QueryWatch, statement: &str, finishes: bool) {
        let query = StrQueryHelper::new(statement);
        watch.on_connection_event(InstrumentationEvent::start_query(&query));
        if finishes {
            watch.on_connection_event(InstrumentationEvent::finish_query(&query, None));
        }
    }

    #[test]
    fn a_statement_is_read_once_a_connection_and_observer_and_told_without_values() {
        let mut watch = watch(false);
        run(&mut watch, "SELECT 1", true);
        let first = occupied(&watch);
        for _ in 0..3 {
            run(&mut watch, "SELECT name FROM users WHERE id = 7", true);
        }
        run(&mut watch, "DELETE FROM users", true);
        let told = |observer: &Written| {
            let read = observer.read.lock().unwrap();
            let read = read.iter().map(|it| (it.summary.clone(), it.text.clone()));
            (
                read.collect::<Vec<_>>(),
                observer.ended.lock().unwrap().clone(),
            )
        };
        let (read, ended) = told(&first);
        let select = ("SELECT users", "SELECT name FROM users WHERE id = ?");
        let delete = ("DELETE users", "DELETE FROM users");
        assert_eq!(
            read,
            [select, delete].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(ended, [1, 1, 1, 2].map(|id| Some(StatementId::new(id))));
        let second = occupied(&watch);
        run(&mut watch, "DELETE FROM users", true);
        assert_eq!(
            told(&second).1,
            [Some(StatementId::new(1))],
            "by its own number"
        );
    }

    #[test]
    fn one_given_up_is_known_where_its_text_was_there_already() {
        for (see_transactions, known) in [(true, Some(StatementId::new(1))), (false, None)] {
            let mut watch = watch(see_transactions);
            let observer = occupied(&watch);
            run(&mut watch, "SELECT 1", false);
            drop(watch);
            assert_eq!(*observer.ended.lock().unwrap(), [known]);
        }
    }

    #[test]
    fn counts_what_has_not_finished_and_sees_raw_transactions() {
        let mut watch = watch(true);
        let state = watch.state();
        let begin = StrQueryHelper::new("BEGIN");
        watch.on_connection_event(InstrumentationEvent::start_query(&begin));
        assert_eq!((state.in_flight(), state.in_transaction()), (1, Some(true)));
        watch.on_connection_event(InstrumentationEvent::finish_query(&begin, None));
        let commit = StrQueryHelper::new("COMMIT");
        watch.on_connection_event(InstrumentationEvent::start_query(&commit));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        watch.on_connection_event(InstrumentationEvent::finish_query(&commit, None));
        assert_eq!(
            (state.in_flight(), state.in_transaction()),
            (0, Some(false))
        );
    }

    #[test]
    fn one_given_up_does_not_count_as_work() {
        let mut watch = watch(false);
        let state = watch.state();
        let (dropped, next) = (
            StrQueryHelper::new("SELECT 1"),
            StrQueryHelper::new("SELECT 2"),
        );
        watch.on_connection_event(InstrumentationEvent::start_query(&dropped));
        watch.on_connection_event(InstrumentationEvent::start_query(&next));
        watch.on_connection_event(InstrumentationEvent::finish_query(&next, None));
        assert_eq!((watch.under_way.len(), state.in_flight()), (0, 1));
        let busy = state.busy();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(state.busy(), busy);
    }
}
