//! Tests the descriptions of statements written by diesel and by hand.

mod fuzz;
mod leaks;

use std::sync::Arc;

use super::*;
use DatabaseKind::{Mysql, Postgres, Sqlite};

const ALL: [DatabaseKind; 3] = [Postgres, Mysql, Sqlite];

fn text(statement: &str, dialect: DatabaseKind) -> Arc<str> {
    describe(statement, dialect).text
}

/// Asserts that the statements have these summaries in all databases.
fn summaries(table: &[(&str, &str)]) {
    for (statement, summary) in table {
        for dialect in ALL {
            assert_eq!(
                &*describe(statement, dialect).summary,
                *summary,
                "{statement}"
            );
        }
    }
}

#[test]
fn the_text_of_diesels_statements_is_unchanged() {
    for (dialect, statement, summary) in [
        (
            Postgres,
            r#"SELECT "users"."id", "users"."name" FROM "users" WHERE ("users"."id" = $1) LIMIT $2"#,
            "SELECT users",
        ),
        (
            Postgres,
            r#"SELECT "posts"."id" FROM ("posts" INNER JOIN "shop"."users" ON ("posts"."user_id" = "users"."id")) WHERE ("users"."id" = ANY($1))"#,
            "SELECT posts shop.users",
        ),
        (
            Postgres,
            r#"INSERT INTO "users" ("name", "age") VALUES ($1, DEFAULT) ON CONFLICT ("id") DO UPDATE SET "name" = excluded."name" RETURNING "users"."id""#,
            "INSERT users",
        ),
        (
            Postgres,
            r#"UPDATE "users" SET "name" = $1, "age" = $2 WHERE ("users"."id" = $3) RETURNING "users"."id""#,
            "UPDATE users",
        ),
        (
            Postgres,
            r#"SELECT EXISTS (SELECT "users"."id" FROM "users" WHERE ("users"."age" IS DISTINCT FROM $1) FOR UPDATE)"#,
            "SELECT SELECT users",
        ),
        (
            Mysql,
            "SELECT `users`.`id` FROM `users` WHERE (`users`.`name` LIKE ?) ORDER BY `users`.`id` DESC LIMIT ? OFFSET ?",
            "SELECT users",
        ),
        (
            Sqlite,
            "INSERT OR REPLACE INTO `users` (`id`, `name`) VALUES (?, ?) RETURNING `users`.`id`",
            "INSERT users",
        ),
    ] {
        let described = describe(statement, dialect);
        assert_eq!(&*described.text, statement);
        assert_eq!(&*described.summary, summary);
    }
    // diesel writes two spaces.
    let delete = describe("DELETE  FROM `users` WHERE (`users`.`id` = ?)", Sqlite);
    assert_eq!(
        &*delete.text,
        "DELETE FROM `users` WHERE (`users`.`id` = ?)"
    );
    assert_eq!(&*delete.summary, "DELETE users");
}

#[test]
fn literals_are_hidden() {
    for (statement, hidden) in [
        ("SELECT 'x', 'it''s', ''", "SELECT ?, ?, ?"),
        ("SELECT N'x', X'0f', b'01', x'ff'", "SELECT ?, ?, ?, ?"),
        (
            "SELECT 1, 1.5, .5, 1., 1e5, 1E-5, 0xFF, 1_000",
            "SELECT ?, ?, ?, ?, ?, ?, ?, ?",
        ),
        (
            "SELECT a-1, -2, t1, t1.c2, c$3",
            "SELECT a-?, -?, t1, t1.c2, c$3",
        ),
        (
            "SELECT TRUE, false, t.true, NULL",
            "SELECT ?, ?, t.true, NULL",
        ),
        (
            "SELECT DATE '2020-01-01', INTERVAL '1' DAY",
            "SELECT DATE ?, INTERVAL ? DAY",
        ),
        (
            "SELECT a FROM t LIMIT 5 OFFSET 10;",
            "SELECT a FROM t LIMIT ? OFFSET ?",
        ),
        ("SELECT 'a' 'b'", "SELECT ? ?"),
        ("SELECT 'é', é FROM \u{1f980}", "SELECT ?, é FROM \u{1f980}"),
    ] {
        for dialect in ALL {
            assert_eq!(&*text(statement, dialect), hidden, "{dialect:?}");
        }
    }
}

#[test]
fn each_database_has_its_own_literals() {
    for (dialect, statement, hidden) in [
        (
            Postgres,
            r"SELECT E'it\'s', e'\\', 'C:\', n",
            "SELECT ?, ?, ?",
        ),
        (
            Postgres,
            "SELECT E'a' -- b\n  'c\\'d', E'e' 'f\\', g",
            "SELECT ?, ? ?",
        ),
        (
            Postgres,
            "SELECT $$x$$, $a$ $b$ $$ $a$, $1, f$1$",
            "SELECT ?, ?, $1, f$1$",
        ),
        (
            Postgres,
            r#"SELECT U&'\0061', U&"d\0061t" UESCAPE '!'"#,
            r#"SELECT ?, U&"d\0061t" UESCAPE ?"#,
        ),
        (
            Postgres,
            r#"SELECT "a""b", a ? 'x', b ?| $2, c::text[1:2]"#,
            r#"SELECT "a""b", a ? ?, b ?| $2, c::text[?:?]"#,
        ),
        (
            Mysql,
            r#"SELECT "it""s", 'it\'s', "\"", `a``b`"#,
            "SELECT ?, ?",
        ),
        (
            Mysql,
            r"SELECT _utf8mb4'x', @a, @@b, 'u'@'h', \N",
            r"SELECT _utf8mb4?, @a, @@b, ?@?, \N",
        ),
        (
            Mysql,
            "SELECT 5--3, 4 -- 3\n, 2 # 1\n, 1",
            "SELECT ?--?, ? , ? , ?",
        ),
        (
            Sqlite,
            r#"SELECT [a b], "c", `d`, ?, ?12, :e, @f, $g"#,
            r"SELECT [a b], ?, `d`, ?, ?12, :e, @f, $g",
        ),
        (
            Sqlite,
            r#"SELECT a FROM t WHERE a = "x" AND b LIKE "y" AND "a"."b" = "a"."c" AND "d e" IS NOT "z""#,
            r#"SELECT a FROM t WHERE a = ? AND b LIKE ? AND "a"."b" = "a"."c" AND ? IS NOT ?"#,
        ),
        (
            Sqlite,
            r#"INSERT INTO "t" ("a") VALUES ("x")"#,
            r#"INSERT INTO "t" ("a") VALUES (?)"#,
        ),
    ] {
        assert_eq!(&*text(statement, dialect), hidden, "{statement}");
    }
}

#[test]
fn comments_are_left_out() {
    for (dialect, statement, shown) in [
        (
            Postgres,
            "/* a /* b */ 'c */ SELECT 1 -- d\r, 2",
            "SELECT ? , ?",
        ),
        (
            Mysql,
            "/* a /* b */ SELECT /*+ NO_ICP(t) */ /*! STRAIGHT_JOIN */ a --\tb\n FROM t",
            "SELECT a FROM t",
        ),
        (Sqlite, "-- a\nSELECT/**/1/* b", "SELECT ?"),
    ] {
        assert_eq!(&*text(statement, dialect), shown, "{statement}");
    }
}

#[test]
fn unterminated_literals_and_comments_are_hidden() {
    for (dialect, statement, shown) in [
        (Postgres, "SELECT 'abc", "SELECT ?"),
        (Postgres, "SELECT $a$ abc $b$", "SELECT ?"),
        (Postgres, r#"SELECT "abc"" "#, "SELECT ?"),
        (Postgres, r"SELECT E'abc\'", "SELECT ?"),
        (Postgres, "SELECT a /* /* */ b", "SELECT a"),
        (Mysql, "SELECT `abc", "SELECT ?"),
        (Mysql, r#"SELECT "abc\"#, "SELECT ?"),
        // Depending on whether the server executes it, the quote begins a string.
        (Mysql, "SELECT a /*!99999 it's */ , 'b', c", "SELECT a ?"),
        (Sqlite, "SELECT [abc", "SELECT ?"),
        (Sqlite, "SELECT a\0 abc", "SELECT a?"),
    ] {
        assert_eq!(&*text(statement, dialect), shown, "{statement}");
    }
}

#[test]
fn the_number_of_values_does_not_change_the_text() {
    for (dialect, statements, shown) in [
        (
            Mysql,
            [
                "SELECT a FROM t WHERE b IN (?) AND c = ?",
                "SELECT a FROM t WHERE b IN (?, ?,'x', -1,NULL) AND c = ?",
            ],
            "SELECT a FROM t WHERE b IN (?) AND c = ?",
        ),
        (
            Postgres,
            [
                "DELETE FROM t WHERE b NOT IN ($1) AND c = $2",
                "DELETE FROM t WHERE b NOT IN ($1, $2, $3::int) AND c = $4",
            ],
            "DELETE FROM t WHERE b NOT IN (?) AND c = ?",
        ),
        (
            Postgres,
            [
                "SELECT a FROM t WHERE (a, b) IN (($1, $2)) LIMIT $3",
                "SELECT a FROM t WHERE (a, b) IN (($1, $2), ($3, $4)) LIMIT $5",
            ],
            "SELECT a FROM t WHERE (a, b) IN (?) LIMIT ?",
        ),
        (
            Postgres,
            ["SELECT ARRAY[1]", "SELECT ARRAY[1, 2, 3]"],
            "SELECT ARRAY[?]",
        ),
        (
            Sqlite,
            [
                "INSERT INTO t (a, b) VALUES (?, ?)",
                "INSERT INTO t (a, b) VALUES (?, ?), (now(?), 5), (?, ?);",
            ],
            "INSERT INTO t (a, b) VALUES (?, ?)",
        ),
        (
            Mysql,
            [
                "INSERT INTO t (a) VALUES (?),(?) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
                "INSERT INTO t (a) VALUES (?),(?),(?) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
            ],
            "INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
        ),
        (
            Postgres,
            [
                "INSERT INTO t VALUES ($1), ($2) ON CONFLICT DO UPDATE SET a = $3",
                "INSERT INTO t VALUES ($1), ($2), ($3) ON CONFLICT DO UPDATE SET a = $4",
            ],
            "INSERT INTO t VALUES ($1) ON CONFLICT DO UPDATE SET a = ?",
        ),
    ] {
        for statement in statements {
            assert_eq!(&*text(statement, dialect), shown, "{statement}");
        }
    }
    // Other lists are unchanged.
    for statement in [
        "SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = ?)",
        "SELECT a FROM t WHERE b IN (c, d)",
        "SELECT a FROM t WHERE b IN ()",
        "SELECT f(?, ?, ?)",
    ] {
        assert_eq!(&*text(statement, Mysql), statement);
    }
}

#[test]
fn the_values_of_settings_are_hidden() {
    for (statement, text) in [
        ("SET app.secret = hunter2", "SET app.secret = ?"),
        (
            "set local search_path to shop, \"$user\"",
            "set local search_path to ?, ?",
        ),
        ("SET @a = b; SELECT b", "SET @a = ?; SELECT b"),
        ("UPDATE t SET a = b", "UPDATE t SET a = b"),
    ] {
        assert_eq!(&*describe(statement, Postgres).text, text);
    }
}

#[test]
fn texts_are_bounded() {
    let long = format!("SELECT {} FROM t", "columé, ".repeat(1000));
    let shown = text(&long, Postgres);
    assert!(shown.len() <= 2048 + '…'.len_utf8() && shown.ends_with('…'));
    assert!(shown.starts_with("SELECT columé, columé"));

    // A list of values of any length is shortened, and the text after it is kept.
    let many = format!(
        "SELECT a FROM t WHERE b IN ({}?) AND c = ?",
        "?, ".repeat(5000)
    );
    assert_eq!(
        &*text(&many, Mysql),
        "SELECT a FROM t WHERE b IN (?) AND c = ?"
    );
    let rows = format!(
        "INSERT INTO t VALUES (?){} RETURNING a",
        ", (?)".repeat(3000)
    );
    assert_eq!(
        &*text(&rows, Sqlite),
        "INSERT INTO t VALUES (?) RETURNING a"
    );

    // Longer than the part that is read.
    let huge = format!(
        "SELECT a FROM t WHERE b IN ({}?) AND c = ?",
        "?, ".repeat(50_000)
    );
    assert_eq!(&*text(&huge, Mysql), "SELECT a FROM t WHERE b IN (?…");
    let huge = format!("SELECT '{}', secret", "x".repeat(READ));
    assert_eq!(&*text(&huge, Mysql), "SELECT ?…");
}

#[test]
fn summaries_follow_the_conventions() {
    summaries(&[
        (
            "SELECT *\n FROM   wuser_table\n WHERE  username = ?",
            "SELECT wuser_table",
        ),
        (
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        (
            "SELECT * FROM songs, artists WHERE songs.artist_id == artists.id",
            "SELECT songs artists",
        ),
        (
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        (
            "call some_stored_procedure(1)",
            "CALL some_stored_procedure",
        ),
    ]);
    // Quotes are kept only if a name needs them, and text that may be data is not a name.
    let of = |dialect| {
        describe(
            r#"SELECT * FROM "song list", "artists", 'x', Albums"#,
            dialect,
        )
        .summary
    };
    assert_eq!(&*of(Postgres), r#"SELECT "song list" artists Albums"#);
    assert_eq!(&*of(Mysql), "SELECT Albums");
}

#[test]
fn tables_are_found_in_all_positions() {
    summaries(&[
        (
            "select a from Public.Users u left join \tposts p using (id), tags where a = 1",
            "SELECT Public.Users posts tags",
        ),
        (
            "SELECT extract(year FROM d), trim(both 'x' FROM e) FROM t",
            "SELECT t",
        ),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t"),
        ("SELECT f(a, b), c FROM t AS x ORDER BY a, b", "SELECT t"),
        (
            "SELECT a FROM t WHERE b IN (1, 2) AND c = ANY(SELECT d FROM u), e",
            "SELECT t SELECT u",
        ),
        ("SELECT * FROM generate_series(1, 2) AS g, t", "SELECT t"),
        (
            "SELECT * FROM ((a CROSS JOIN b) JOIN c ON f(1, 2)), d",
            "SELECT a b c d",
        ),
        (
            "SELECT a FROM t UNION ALL SELECT b FROM u",
            "SELECT t SELECT u",
        ),
        (
            "(SELECT a FROM t) UNION (SELECT b FROM u)",
            "SELECT t SELECT u",
        ),
        ("SELECT a FROM t FOR UPDATE", "SELECT t"),
        (
            "SELECT replace(a, 'b', 'c'), (insert(d, 1, 2, 'e')) FROM t",
            "SELECT t",
        ),
        ("SELECT 1", "SELECT"),
        (
            "UPDATE a SET b = 1, c = 2 FROM d, e WHERE a.id = d.id",
            "UPDATE a d e",
        ),
        (
            "UPDATE a JOIN b ON a.id = b.id SET a.c = 1, b.c = 2",
            "UPDATE a b",
        ),
        ("UPDATE OR IGNORE t SET a = 1", "UPDATE t"),
        ("UPDATE ONLY t SET a = 1", "UPDATE t"),
        ("DELETE FROM t USING u WHERE t.id = u.id", "DELETE t u"),
        (
            "DELETE FROM t WHERE id IN (SELECT id FROM u)",
            "DELETE t SELECT u",
        ),
        ("INSERT IGNORE INTO t(a) VALUES (1), (2)", "INSERT t"),
        ("INSERT INTO t SET a = 1, b = 2", "INSERT t"),
        ("REPLACE INTO t VALUES (1)", "REPLACE t"),
        (
            "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
            "INSERT t SELECT SELECT x",
        ),
        (
            "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1, b = 2 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)",
            "MERGE t s",
        ),
        ("VALUES (1, 2), (3, 4)", "VALUES"),
        ("TABLE t", "TABLE t"),
    ]);
}

#[test]
fn common_table_expressions_are_in_the_summary() {
    for (statement, summary) in [
        (
            "WITH x AS (SELECT a FROM t) SELECT * FROM x JOIN u ON x.a = u.a",
            "SELECT t SELECT x u",
        ),
        (
            "WITH RECURSIVE X (n, m) AS (SELECT a, b FROM t UNION ALL SELECT n, m FROM x), y AS MATERIALIZED (SELECT 1) DELETE FROM u USING x, y, z",
            "SELECT t SELECT x SELECT DELETE u x y z",
        ),
        (
            "WITH moved AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM moved",
            "DELETE t INSERT u SELECT moved",
        ),
        (
            "WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) UPDATE t SET c = 1",
            "SELECT SELECT b UPDATE t",
        ),
        ("(WITH x AS (DELETE FROM t) SELECT 1)", "DELETE t SELECT"),
    ] {
        summaries(&[(statement, summary)]);
    }
}

#[test]
fn other_statements_have_summaries() {
    summaries(&[
        ("BEGIN", "BEGIN"),
        ("BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"),
        ("START TRANSACTION READ ONLY", "START TRANSACTION"),
        ("commit;", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("SAVEPOINT diesel_savepoint_1", "SAVEPOINT"),
        ("RELEASE SAVEPOINT diesel_savepoint_1", "RELEASE SAVEPOINT"),
        (
            "ROLLBACK TO SAVEPOINT diesel_savepoint_1",
            "ROLLBACK SAVEPOINT",
        ),
        ("rollback work to a", "ROLLBACK"),
        ("SET TIME ZONE 'UTC'", "SET"),
        ("SHOW server_version", "SHOW"),
        ("PRAGMA main.table_info(users)", "PRAGMA main.table_info"),
        ("PRAGMA journal_mode = WAL", "PRAGMA journal_mode"),
        (
            "CREATE TABLE IF NOT EXISTS shop.users (id INT REFERENCES other (id) ON DELETE CASCADE ON UPDATE CASCADE)",
            "CREATE TABLE shop.users",
        ),
        (
            "CREATE TEMPORARY TABLE t AS SELECT a FROM u, v",
            "CREATE TABLE t SELECT u v",
        ),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t USING gin (a, b)",
            "CREATE INDEX i",
        ),
        (
            "CREATE OR REPLACE VIEW v AS WITH x AS (SELECT 1) SELECT * FROM x",
            "CREATE VIEW v SELECT SELECT x",
        ),
        (
            "REFRESH MATERIALIZED VIEW CONCURRENTLY daily",
            "REFRESH MATERIALIZED VIEW daily",
        ),
        (
            "CREATE TRIGGER r AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "CREATE TRIGGER r",
        ),
        (
            "ALTER TABLE t ADD COLUMN a INT, ADD b TEXT",
            "ALTER TABLE t",
        ),
        ("DROP TABLE IF EXISTS a, b CASCADE", "DROP TABLE a b"),
        ("ALTER USER alice PASSWORD 'x'", "ALTER USER"),
        ("TRUNCATE TABLE a, b", "TRUNCATE a b"),
        ("COPY t (a, b) FROM STDIN", "COPY t"),
        (
            "COPY (SELECT * FROM t) TO STDOUT WITH (FORMAT csv)",
            "COPY SELECT t",
        ),
        ("LOCK TABLE a IN SHARE MODE", "LOCK a"),
        (
            "EXPLAIN (ANALYZE, BUFFERS) INSERT INTO t VALUES (1)",
            "EXPLAIN INSERT t",
        ),
        ("EXPLAIN QUERY PLAN SELECT * FROM t", "EXPLAIN SELECT t"),
        ("DECLARE c CURSOR FOR SELECT * FROM t", "DECLARE SELECT t"),
        ("PREPARE p AS UPDATE t SET a = 1", "PREPARE UPDATE t"),
        ("GRANT SELECT, INSERT ON t TO alice", "GRANT"),
        ("VACUUM ANALYZE t", "VACUUM"),
    ]);
    for statement in ["", " ; -- x\n", "frobnicate t", "'x'", "?", "42 SELECT"] {
        for dialect in ALL {
            let described = describe(statement, dialect);
            assert_eq!(&*described.summary, "", "{statement}");
        }
    }
}

#[test]
fn several_statements_are_a_batch() {
    for (statements, summary) in [
        ("BEGIN; INSERT INTO t VALUES (1); COMMIT;", "BATCH"),
        (
            "INSERT INTO t VALUES (1); insert into t values (2)",
            "BATCH INSERT t",
        ),
        (
            "INSERT INTO t VALUES (1); INSERT INTO u VALUES (2)",
            "BATCH",
        ),
        ("INSERT INTO t VALUES (1); frobnicate", "BATCH"),
        (";; SELECT a FROM t ;;", "SELECT t"),
    ] {
        for dialect in ALL {
            let described = describe(statements, dialect);
            assert_eq!(&*described.summary, summary, "{statements}");
        }
    }
    let described = describe("SELECT 'a;b'; SELECT 2;", Postgres);
    assert_eq!(&*described.text, "SELECT ?; SELECT ?");
}

#[test]
fn summaries_are_cut_between_names() {
    let names: Vec<_> = (0..100).map(|at| format!("schema.table{at}")).collect();
    let described = describe(&format!("SELECT * FROM {}", names.join(", ")), Postgres);
    assert!(described.summary.len() <= 255 && described.summary.len() > 230);
    let last = described.summary.rsplit(' ').next().unwrap();
    assert!(names.iter().any(|name| name == last), "{last}");

    let long = "x".repeat(300);
    let described = describe(&format!("SELECT * FROM a.{long}, b"), Mysql);
    assert_eq!(&*described.summary, "SELECT");
    let fits = "x".repeat(248);
    let both = format!("SELECT * FROM {fits}; SELECT * FROM {fits}");
    assert_eq!(&*describe(&both, Mysql).summary, "BATCH SELECT");
}
