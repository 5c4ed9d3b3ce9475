//! Limits and checks that hold on every database, so that a program which works on one works on all.

use wharf_core::store::{Collection, Condition, Document, Field, FieldKind, Value};

/// The largest body of a document, in bytes. MongoDB's documents end at 16 MiB, fields included.
pub const BODY_BYTES_MAX: usize = 15 * 1024 * 1024;

/// The most values of one [`Condition::In`]. SQLite's statements end at 32,766 parameters.
pub const IN_VALUES_MAX: usize = 10_000;

/// The longest name of a collection or field, in characters.
const NAME_CHARS_MAX: usize = 40;

/// A call that no database could fulfil: a mistake in the code that makes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misuse {
    #[error("'{0}' is not a name of a collection or field")]
    Name(&'static str),
    #[error("collection {collection} has no field {field}")]
    UnknownField {
        collection: &'static str,
        field: &'static str,
    },
    #[error("field {field} of {collection} does not hold such a value")]
    WrongKind {
        collection: &'static str,
        field: &'static str,
    },
    #[error("document {id} of {collection} has {bytes} bytes, more than {BODY_BYTES_MAX}")]
    TooLarge {
        collection: &'static str,
        id: String,
        bytes: usize,
    },
    #[error("a condition on {field} of {collection} has more than {IN_VALUES_MAX} values")]
    TooManyValues {
        collection: &'static str,
        field: &'static str,
    },
    #[error("a delete in {0} without a condition would remove every document")]
    DeleteAll(&'static str),
    #[error("a cursor does not fit the order of the query on {0}")]
    Cursor(&'static str),
}

/// Checks the names of a collection.
pub(crate) fn check_collection(collection: &'static Collection) -> Result<(), Misuse> {
    let names = std::iter::once(collection.name).chain(collection.fields.iter().map(|field| field.name));
    for name in names {
        let mut chars = name.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let goes_on_well = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !starts_well || !goes_on_well || name.len() > NAME_CHARS_MAX || name.starts_with("sqlite_") {
            return Err(Misuse::Name(name));
        }
    }
    Ok(())
}

/// Checks a document before it is stored.
pub(crate) fn check_document(collection: &'static Collection, document: &Document) -> Result<(), Misuse> {
    if document.body.len() > BODY_BYTES_MAX {
        return Err(Misuse::TooLarge {
            collection: collection.name,
            id: document.id.clone(),
            bytes: document.body.len(),
        });
    }
    for (name, value) in &document.fields {
        check_value(collection, name, value)?;
    }
    Ok(())
}

/// Checks the conditions of a query, a count or a delete.
pub(crate) fn check_conditions(collection: &'static Collection, conditions: &[Condition]) -> Result<(), Misuse> {
    for condition in conditions {
        match condition {
            Condition::Equal(name, value) | Condition::AtLeast(name, value) | Condition::AtMost(name, value) => {
                check_value(collection, name, value)?;
            }
            Condition::In(name, values) => {
                find_field(collection, name)?;
                if values.len() > IN_VALUES_MAX {
                    return Err(Misuse::TooManyValues {
                        collection: collection.name,
                        field: name,
                    });
                }
                for value in values {
                    check_value(collection, name, value)?;
                }
            }
            Condition::IdPrefix(_) => {}
        }
    }
    Ok(())
}

/// Refuses a delete that names no document in particular; a prefix of no characters is as good as no condition.
pub(crate) fn check_delete(collection: &'static Collection, conditions: &[Condition]) -> Result<(), Misuse> {
    let is_empty = |condition: &Condition| matches!(condition, Condition::IdPrefix(prefix) if prefix.is_empty());
    if conditions.iter().all(is_empty) {
        return Err(Misuse::DeleteAll(collection.name));
    }
    check_conditions(collection, conditions)
}

/// Checks that a field exists and may hold this value.
pub(crate) fn check_value(collection: &'static Collection, name: &'static str, value: &Value) -> Result<(), Misuse> {
    let field = find_field(collection, name)?;
    match (field.kind, value) {
        (FieldKind::Text, Value::Text(_))
        | (FieldKind::Integer, Value::Integer(_))
        | (FieldKind::Time, Value::Time(_)) => Ok(()),
        _ => Err(Misuse::WrongKind {
            collection: collection.name,
            field: name,
        }),
    }
}

/// The field of this name.
pub(crate) fn find_field(collection: &'static Collection, name: &'static str) -> Result<&'static Field, Misuse> {
    let known = collection.fields.iter().find(|field| field.name == name);
    known.ok_or(Misuse::UnknownField {
        collection: collection.name,
        field: name,
    })
}
