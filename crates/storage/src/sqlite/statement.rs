//! Turns the port's documents, conditions and queries into SQL, and rows back into documents.
//!
//! Pure: asks no database. One table for each collection (`id`, `version`, a column `f_<field>` for each field, `body`)
//! with one index on `(f_<field>, id)` for each field, which serves both conditions and pages in order. Names are checked
//! before they get into the text; values are always bound, never part of it.
//!
//! Tables keep their row ids: in a table WITHOUT ROWID every body above a quarter of a page would spill to pages of its
//! own, and most bodies here are messages and events of 1 to 3 KB.

use std::fmt::Write as _;

use jiff::Timestamp;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row};
use wharf_core::BoxError;
use wharf_core::store::{Collection, Condition, Document, Expect, FieldKind, Query, Value, Write};

use crate::limits::{
    Misuse, check_collection, check_conditions, check_delete, check_document, check_value, find_field,
};

/// The most documents that one statement of a `get_many` asks for.
const IDS_PER_STATEMENT_MAX: usize = 200;

/// SQL with its values.
pub(super) struct Statement {
    /// The text, with a `?` for each value.
    pub(super) sql: String,
    /// The values.
    pub(super) arguments: SqliteArguments,
    /// Whether the same text comes again and is worth keeping prepared.
    pub(super) is_usual: bool,
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
            for (index, id) in chunk.iter().enumerate() {
                sql.text(if index == 0 { "" } else { "," });
                sql.bind(id.as_str())?;
            }
            sql.text(")");
            let is_usual = chunk.len() == 1;
            Ok(sql.done(is_usual))
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
    let is_usual = |condition: &Condition| !matches!(condition, Condition::In(_, values) if values.len() != 1);
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
                sql.bind_value(value)?;
                sql.arguments.add(cursor.id.as_str())?;
            }
            write!(
                sql.text,
                " ORDER BY f_{field} {direction}, id {direction} LIMIT {limit}"
            )?;
        }
        None => {
            if let Some(cursor) = &query.after {
                write!(sql.text, " AND id {beyond} ?")?;
                sql.arguments.add(cursor.id.as_str())?;
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
            sql.bind(id.as_str())?;
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

fn put(collection: &'static Collection, document: Document, expect: Expect) -> Result<Step, BoxError> {
    check_collection(collection)?;
    check_document(collection, &document)?;
    let table = collection.name;
    let columns: Vec<String> = collection.fields.iter().map(|f| format!("f_{}", f.name)).collect();

    let mut sql;
    match expect {
        Expect::Version(version) if version > 0 => {
            sql = Sql::new(format!("UPDATE \"{table}\" SET version = version + 1"));
            for (column, field) in columns.iter().zip(collection.fields) {
                write!(sql.text, ", {column} = ")?;
                sql.bind_field(document.field(field.name))?;
            }
            sql.text(", body = ");
            sql.bind(&document.body[..])?;
            sql.text(" WHERE id = ");
            sql.bind(document.id.as_str())?;
            sql.text(" AND version = ");
            sql.bind(i64::try_from(version)?)?;
        }
        // A document that was never stored has version 0, so to expect that is to expect none.
        Expect::Anything | Expect::Absent | Expect::Version(_) => {
            let mut names = columns.join(", ");
            if !names.is_empty() {
                names.push_str(", ");
            }
            sql = Sql::new(format!("INSERT INTO \"{table}\" (id, version, {names}body) VALUES ("));
            sql.bind(document.id.as_str())?;
            sql.text(", 1, ");
            for field in collection.fields {
                sql.bind_field(document.field(field.name))?;
                sql.text(", ");
            }
            sql.bind(&document.body[..])?;
            sql.text(") ON CONFLICT (id) DO ");
            if expect == Expect::Anything {
                sql.text("UPDATE SET version = version + 1, ");
                for column in &columns {
                    write!(sql.text, "{column} = excluded.{column}, ")?;
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
        expecting: (expect != Expect::Anything).then_some(document.id),
    })
}

/// The document in a row of a `SELECT` made here.
pub(super) fn decode(collection: &'static Collection, row: &SqliteRow) -> Result<Document, sqlx::Error> {
    let version: i64 = row.try_get(1)?;
    let body: Vec<u8> = row.try_get(2)?;
    let mut document = Document::new(row.try_get::<String, _>(0)?, body);
    document.version = version.unsigned_abs();
    for (index, field) in collection.fields.iter().enumerate() {
        let column = index + 3;
        let value = match field.kind {
            FieldKind::Text => row.try_get::<Option<String>, _>(column)?.map(Value::Text),
            FieldKind::Integer => row.try_get::<Option<i64>, _>(column)?.map(Value::Integer),
            FieldKind::Time => match row.try_get::<Option<i64>, _>(column)? {
                Some(millis) => {
                    let time = Timestamp::from_millisecond(millis).map_err(|e| sqlx::Error::Decode(e.into()))?;
                    Some(Value::Time(time))
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
        statements.push(format!("CREATE INDEX \"{index}\" ON \"{table}\" ({column}, id)"));
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
    arguments: SqliteArguments,
}

impl Sql {
    fn new(text: String) -> Self {
        Self {
            text,
            arguments: SqliteArguments::default(),
        }
    }

    fn select(collection: &'static Collection) -> Self {
        let fields: String = collection.fields.iter().map(|f| format!(", f_{}", f.name)).collect();
        Self::new(format!("SELECT id, version, body{fields} FROM \"{}\"", collection.name))
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind<'t, T>(&mut self, value: T) -> Result<(), BoxDynError>
    where
        T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.text.push('?');
        self.arguments.add(value)
    }

    /// Binds a value for a place that is already in the text.
    fn bind_value(&mut self, value: &Value) -> Result<(), BoxDynError> {
        match value {
            Value::Text(text) => self.arguments.add(text.as_str()),
            Value::Integer(number) => self.arguments.add(*number),
            Value::Time(time) => self.arguments.add(time.as_millisecond()),
        }
    }

    fn bind_field(&mut self, value: Option<&Value>) -> Result<(), BoxDynError> {
        self.text.push('?');
        match value {
            Some(value) => self.bind_value(value),
            None => self.arguments.add(None::<i64>),
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
                    for (index, value) in values.iter().enumerate() {
                        self.text(if index == 0 { "?" } else { ",?" });
                        self.bind_value(value)?;
                    }
                    self.text(")");
                }
                Condition::IdPrefix(prefix) => {
                    self.text(" AND id >= ");
                    self.bind(prefix.as_str())?;
                    if let Some(end) = after_prefix(prefix) {
                        self.text(" AND id < ");
                        self.bind(end)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, field: &str, operator: &str, value: &Value) -> Result<(), BoxError> {
        write!(self.text, " AND f_{field} {operator} ?")?;
        self.bind_value(value)
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
    use super::*;

    #[test]
    fn what_comes_after_a_prefix_is_larger_than_all_that_start_with_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
