//! Turns the port's documents, conditions and queries into SQL, and rows back into documents.
//!
//! Pure: asks no database. One table for each collection (`id`, `version`, a column `f_<field>` for each field, `body`)
//! with one index on `(f_<field>, id)` for each field, which serves both conditions and pages in order. A document is in
//! the indexes of the fields that it has only: each index is one more page to write. Names are checked before they get
//! into the text; values are always bound, never part of it.
//!
//! Tables keep their row ids: in a table WITHOUT ROWID every body above a quarter of a page would spill to pages of its
//! own, and most bodies here are messages and events of 1 to 3 KB.

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use wharf_core::BoxError;
use wharf_core::store::{Collection, Condition, Document, Expect, FieldKind, Query, Value, Write};

use crate::limits::{
    Misuse, check_collection, check_conditions, check_delete, check_document, check_value, find_field,
};

/// The most documents that one statement of a `get_many` asks for; a power of two, see [`Sql::list`].
const IDS_PER_STATEMENT_MAX: usize = 256;

/// The longest list whose statement is worth keeping prepared.
const USUAL_LIST_MAX: usize = 16;

/// SQL with its values.
pub(super) struct Statement {
    /// The text, with a `?` for each value.
    pub(super) sql: String,
    /// The values.
    pub(super) arguments: Vec<Argument>,
    /// Whether the same text comes again and is worth keeping prepared.
    pub(super) is_usual: bool,
}

/// A value of a statement.
#[derive(Clone)]
pub(super) enum Argument {
    Null,
    Integer(i64),
    Text(String),
    Blob(Bytes),
}

impl ToSql for Argument {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<Value> for Argument {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Integer(number) => Self::Integer(number),
            Value::Time(time) => Self::Integer(time.as_millisecond()),
        }
    }
}

/// One change of a batch.
pub(super) struct Step {
    /// Which table it needs.
    pub(super) collection: &'static Collection,
    /// What to run.
    pub(super) statement: Statement,
    /// The document whose expectation failed if no row changes.
    pub(super) expecting: Option<String>,
}

/// Statements for these ids, in chunks.
pub(super) fn select_ids(collection: &'static Collection, ids: &[String]) -> Result<Vec<Statement>, BoxError> {
    check_collection(collection)?;
    ids.chunks(IDS_PER_STATEMENT_MAX)
        .map(|chunk| {
            let mut sql = Sql::select(collection);
            sql.text(" WHERE id IN (");
            sql.list(chunk.iter().cloned().map(Argument::Text));
            sql.text(")");
            Ok(sql.done(is_usual_list(chunk.len())))
        })
        .collect()
}

/// The statement of a query; it asks for one document more than the page holds, to know whether there is a next page.
pub(super) fn select_page(
    collection: &'static Collection,
    query: &Query,
    documents_max: usize,
) -> Result<Statement, BoxError> {
    check_collection(collection)?;
    check_conditions(collection, &query.conditions)?;
    let mut sql = Sql::select(collection);
    sql.text(" WHERE 1");
    sql.conditions(&query.conditions)?;

    let (direction, beyond) = if query.descending { ("DESC", "<") } else { ("ASC", ">") };
    let is_usual = |condition: &Condition| match condition {
        Condition::In(_, values) => is_usual_list(values.len()),
        _ => true,
    };
    let is_usual = query.conditions.iter().all(is_usual);
    let limit = i64::try_from(documents_max.saturating_add(1))?;
    match query.order_by {
        Some(field) => {
            find_field(collection, field)?;
            write!(sql.text, " AND f_{field} IS NOT NULL")?;
            if let Some(cursor) = &query.after {
                let value = cursor.value.as_ref().ok_or(Misuse::Cursor(collection.name))?;
                check_value(collection, field, value)?;
                write!(sql.text, " AND (f_{field}, id) {beyond} (?, ?)")?;
                sql.arguments.push(value.clone().into());
                sql.arguments.push(Argument::Text(cursor.id.clone()));
            }
            write!(
                sql.text,
                " ORDER BY f_{field} {direction}, id {direction} LIMIT {limit}"
            )?;
        }
        None => {
            if let Some(cursor) = &query.after {
                write!(sql.text, " AND id {beyond} ?")?;
                sql.arguments.push(Argument::Text(cursor.id.clone()));
            }
            write!(sql.text, " ORDER BY id {direction} LIMIT {limit}")?;
        }
    }
    Ok(sql.done(is_usual))
}

/// The statement that counts.
pub(super) fn count(collection: &'static Collection, conditions: &[Condition]) -> Result<Statement, BoxError> {
    check_collection(collection)?;
    check_conditions(collection, conditions)?;
    let mut sql = Sql::new(format!("SELECT count(*) FROM \"{}\" WHERE 1", collection.name));
    sql.conditions(conditions)?;
    Ok(sql.done(false))
}

/// The step of one change.
pub(super) fn step(write: Write) -> Result<Step, BoxError> {
    match write {
        Write::Put {
            collection,
            document,
            expect,
        } => put(collection, document, expect),
        Write::Delete { collection, id } => {
            check_collection(collection)?;
            let mut sql = Sql::new(format!("DELETE FROM \"{}\" WHERE id = ", collection.name));
            sql.bind(Argument::Text(id));
            Ok(Step {
                collection,
                statement: sql.done(true),
                expecting: None,
            })
        }
        Write::DeleteWhere { collection, conditions } => {
            check_collection(collection)?;
            check_delete(collection, &conditions)?;
            let mut sql = Sql::new(format!("DELETE FROM \"{}\" WHERE 1", collection.name));
            sql.conditions(&conditions)?;
            Ok(Step {
                collection,
                statement: sql.done(false),
                expecting: None,
            })
        }
    }
}

fn put(collection: &'static Collection, mut document: Document, expect: Expect) -> Result<Step, BoxError> {
    check_collection(collection)?;
    check_document(collection, &document)?;
    let (table, fields) = (collection.name, collection.fields);
    let expecting = (expect != Expect::Anything).then(|| document.id.clone());
    let mut sql;
    match expect {
        Expect::Version(version) if version > 0 => {
            sql = Sql::new(format!("UPDATE \"{table}\" SET version = version + 1"));
            for field in fields {
                write!(sql.text, ", f_{} = ", field.name)?;
                sql.bind(take_field(&mut document, field.name));
            }
            sql.text(", body = ");
            sql.bind(Argument::Blob(document.body));
            sql.text(" WHERE id = ");
            sql.bind(Argument::Text(document.id));
            sql.text(" AND version = ");
            sql.bind(Argument::Integer(i64::try_from(version)?));
        }
        // A document that was never stored has version 0, so to expect that is to expect none.
        Expect::Anything | Expect::Absent | Expect::Version(_) => {
            sql = Sql::new(format!("INSERT INTO \"{table}\" (id, version, "));
            for field in fields {
                write!(sql.text, "f_{}, ", field.name)?;
            }
            sql.text("body) VALUES (");
            sql.bind(Argument::Text(std::mem::take(&mut document.id)));
            sql.text(", 1, ");
            for field in fields {
                sql.bind(take_field(&mut document, field.name));
                sql.text(", ");
            }
            sql.bind(Argument::Blob(document.body));
            sql.text(") ON CONFLICT (id) DO ");
            if expect == Expect::Anything {
                sql.text("UPDATE SET version = version + 1, ");
                for field in fields {
                    write!(sql.text, "f_{0} = excluded.f_{0}, ", field.name)?;
                }
                sql.text("body = excluded.body");
            } else {
                sql.text("NOTHING");
            }
        }
    }
    Ok(Step {
        collection,
        statement: sql.done(true),
        expecting,
    })
}

fn is_usual_list(length: usize) -> bool {
    length <= USUAL_LIST_MAX
}

fn take_field(document: &mut Document, name: &str) -> Argument {
    match document.fields.iter().position(|(field, _)| *field == name) {
        Some(place) => document.fields.swap_remove(place).1.into(),
        None => Argument::Null,
    }
}

/// The document in a row of a `SELECT` made here.
pub(super) fn decode(collection: &'static Collection, row: &Row<'_>) -> rusqlite::Result<Document> {
    let mut document = Document::new(row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(2)?);
    document.version = row.get::<_, i64>(1)?.unsigned_abs();
    for (index, field) in collection.fields.iter().enumerate() {
        let column = index + 3;
        let value = match field.kind {
            FieldKind::Text => row.get::<_, Option<String>>(column)?.map(Value::Text),
            FieldKind::Integer => row.get::<_, Option<i64>>(column)?.map(Value::Integer),
            FieldKind::Time => match row.get::<_, Option<i64>>(column)? {
                Some(millis) => {
                    let time = Timestamp::from_millisecond(millis);
                    let out_of_range = |_| rusqlite::Error::IntegralValueOutOfRange(column, millis);
                    Some(Value::Time(time.map_err(out_of_range)?))
                }
                None => None,
            },
        };
        document.fields.extend(value.map(|value| (field.name, value)));
    }
    Ok(document)
}

/// The statements that make what a collection lacks, given the columns that its table has (none: there is no table).
pub(super) fn make_table(collection: &'static Collection, present: &[String]) -> Vec<String> {
    let table = collection.name;
    let missing = collection
        .fields
        .iter()
        .map(|field| (field, format!("f_{}", field.name)))
        .filter(|(_, column)| !present.contains(column));
    let mut statements = Vec::new();
    let mut columns = String::new();
    for (field, column) in missing {
        let kind = match field.kind {
            FieldKind::Text => "TEXT",
            FieldKind::Integer | FieldKind::Time => "INTEGER",
        };
        if present.is_empty() {
            columns.push_str(&format!("{column} {kind}, "));
        } else {
            statements.push(format!("ALTER TABLE \"{table}\" ADD COLUMN {column} {kind}"));
        }
        // The dot is in no name, so no two indexes share one.
        let index = format!("{table}.{}", field.name);
        statements.push(format!(
            "CREATE INDEX \"{index}\" ON \"{table}\" ({column}, id) WHERE {column} IS NOT NULL"
        ));
    }
    if present.is_empty() {
        let create = format!(
            "CREATE TABLE \"{table}\" (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, {columns}body BLOB NOT NULL)"
        );
        statements.insert(0, create);
    }
    statements
}

/// The smallest text that is larger than every text with this prefix, if there is one.
///
/// Texts are compared by their UTF-8 bytes, which order them as their characters do.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The range of characters skips the surrogates by itself.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// SQL that is being written.
struct Sql {
    text: String,
    arguments: Vec<Argument>,
}

impl Sql {
    fn new(text: String) -> Self {
        Self {
            text,
            arguments: Vec::new(),
        }
    }

    fn select(collection: &'static Collection) -> Self {
        let fields: String = collection.fields.iter().map(|f| format!(", f_{}", f.name)).collect();
        Self::new(format!("SELECT id, version, body{fields} FROM \"{}\"", collection.name))
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind(&mut self, value: Argument) {
        self.text.push('?');
        self.arguments.push(value);
    }

    /// Binds a list of values. The last one stands there again until they are a power of two, so that lists of many lengths
    /// are few statements.
    fn list(&mut self, values: impl ExactSizeIterator<Item = Argument> + Clone) {
        let again = values.len().next_power_of_two().saturating_sub(values.len());
        let last = values.clone().last();
        for (index, value) in values.chain(last.into_iter().cycle().take(again)).enumerate() {
            self.text(if index == 0 { "" } else { "," });
            self.bind(value);
        }
    }

    fn conditions(&mut self, conditions: &[Condition]) -> Result<(), BoxError> {
        for condition in conditions {
            match condition {
                Condition::Equal(field, value) => self.compare(field, "=", value)?,
                Condition::AtLeast(field, value) => self.compare(field, ">=", value)?,
                Condition::AtMost(field, value) => self.compare(field, "<=", value)?,
                Condition::In(field, values) => {
                    write!(self.text, " AND f_{field} IN (")?;
                    self.list(values.iter().cloned().map(Argument::from));
                    self.text(")");
                }
                Condition::IdPrefix(prefix) => {
                    self.text(" AND id >= ");
                    self.bind(Argument::Text(prefix.clone()));
                    if let Some(end) = after_prefix(prefix) {
                        self.text(" AND id < ");
                        self.bind(Argument::Text(end));
                    }
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, field: &str, operator: &str, value: &Value) -> Result<(), BoxError> {
        write!(self.text, " AND f_{field} {operator} ")?;
        self.bind(value.clone().into());
        Ok(())
    }

    fn done(self, is_usual: bool) -> Statement {
        Statement {
            sql: self.text,
            arguments: self.arguments,
            is_usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter};
    use wharf_core::store::{Cursor, Field};

    use super::*;

    static THINGS: Collection = Collection {
        name: "things",
        fields: &[Field::text("kind"), Field::integer("rank")],
    };

    /// How SQLite would go about a query.
    fn plan(connection: &Connection, query: &Query) -> String {
        let statement = select_page(&THINGS, query, 10).expect("a sound query");
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let mut explained = connection.prepare(&sql).expect("a sound statement");
        let steps = explained.query_map(params_from_iter(&statement.arguments), |row| row.get::<_, String>(3));
        let steps: rusqlite::Result<Vec<String>> = steps.expect("a plan").collect();
        steps.expect("a plan").join(", ")
    }

    #[test]
    fn every_condition_and_order_has_its_index() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        for statement in make_table(&THINGS, &[]) {
            connection.execute(&statement, ()).expect("a sound statement");
        }
        let after = Cursor {
            value: Some(Value::Integer(3)),
            id: "a".to_owned(),
        };
        for (query, index) in [
            (Query::all().filter(Condition::Equal("kind", "a".into())), "things.kind"),
            (
                Query::all().filter(Condition::In("kind", vec!["a".into(), "b".into()])),
                "things.kind",
            ),
            (Query::all().filter(Condition::AtLeast("rank", 3.into())), "things.rank"),
            (Query::all().filter(Condition::AtMost("rank", 3.into())), "things.rank"),
            (Query::all().ascending("rank"), "things.rank"),
            (Query::all().descending("rank").after(Some(after)), "things.rank"),
        ] {
            let plan = plan(&connection, &query);
            assert!(plan.contains(&format!("INDEX {index}")), "{query:?}: {plan}");
            let sorts = query.order_by.is_some() && plan.contains("TEMP B-TREE");
            assert!(!sorts, "{query:?}: {plan}");
        }
    }

    #[test]
    fn what_comes_after_a_prefix_is_larger_than_all_that_start_with_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
