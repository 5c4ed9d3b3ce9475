//! The webhook inbox: keeps what was posted to `/hook/{name}` until someone reads it.
//!
//! It is where a newcomer points a session's webhooks before there is a receiver of his own. In memory only, bounded per
//! name; the oldest requests make room for new ones and are counted. It never calls anyone and never judges a request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// Names that can hold requests at the same time; a request to one more name is refused.
pub(crate) const HOOK_NAMES_MAX: usize = 64;
/// Length of a name, in characters.
pub(crate) const HOOK_NAME_CHARS_MAX: usize = 64;
/// Requests kept per name.
pub(crate) const HOOK_REQUESTS_MAX: usize = 500;
/// Headers and bodies kept per name, in bytes.
pub(crate) const HOOK_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests that one page of a name's inbox holds.
pub(crate) const HOOK_PAGE_MAX: usize = 100;

/// Why a webhook request was not stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HookError {
    /// The name cannot be used.
    #[error("hook names are 1 to {HOOK_NAME_CHARS_MAX} letters, digits, '-', '_' or '.'")]
    BadName,
    /// There is no room for another name until the sandbox is reset.
    #[error("there are {HOOK_NAMES_MAX} hooks already; use one of them or reset the sandbox")]
    TooManyNames,
}

/// One request as it came in, before it has a place in the inbox.
#[derive(Debug, Clone)]
pub(crate) struct HookRequest {
    /// The HTTP method.
    pub(crate) method: String,
    /// The query string without its `?`, empty if there was none.
    pub(crate) query: String,
    /// The headers with lower-case names; values of a repeated header are joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub(crate) body: String,
    /// When it came, in milliseconds since 1970.
    pub(crate) received_at: u64,
}

/// One stored request as the control API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct HookEntry {
    /// Rises with every request to any name.
    pub(crate) cursor: u64,
    /// The HTTP method.
    pub(crate) method: String,
    /// The query string without its `?`.
    pub(crate) query: String,
    /// The headers with lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(crate) body: String,
    /// The body as JSON, `null` if it is not JSON.
    pub(crate) json: Option<serde_json::Value>,
    /// When it came, in milliseconds since 1970.
    pub(crate) received_at: u64,
}

/// A page of one name's requests, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct HookPage {
    /// The requests after the cursor that was asked for.
    pub(crate) entries: Vec<HookEntry>,
    /// What to pass as `after` to get the following ones.
    pub(crate) next: u64,
    /// How many requests of this name were dropped to make room.
    pub(crate) dropped: u64,
}

/// One name and what it holds.
#[derive(Debug, Serialize)]
pub(crate) struct HookSummary {
    /// The name in `/hook/{name}`.
    pub(crate) name: String,
    /// Requests held now.
    pub(crate) held: usize,
    /// Requests dropped to make room.
    pub(crate) dropped: u64,
    /// The cursor of the oldest request held.
    pub(crate) oldest: u64,
    /// The cursor of the newest request held.
    pub(crate) newest: u64,
}

#[derive(Default)]
struct Hook {
    requests: VecDeque<(u64, HookRequest)>,
    bytes: usize,
    dropped: u64,
}

#[derive(Default)]
struct State {
    cursor: u64,
    hooks: BTreeMap<String, Hook>,
}

/// The requests of all names.
pub(crate) struct HookInbox {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl HookInbox {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Ticks with every request stored and when the inbox is cleared.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stores a request and returns its cursor.
    pub(crate) fn store(&self, name: &str, request: HookRequest) -> Result<u64, HookError> {
        check_name(name)?;
        let cursor = {
            let mut state = self.lock();
            if !state.hooks.contains_key(name) && state.hooks.len() >= HOOK_NAMES_MAX {
                return Err(HookError::TooManyNames);
            }
            state.cursor += 1;
            let cursor = state.cursor;
            state.hooks.entry(name.to_owned()).or_default().push(cursor, request);
            cursor
        };
        self.tick();
        Ok(cursor)
    }

    /// The requests of `name` after a cursor, at most [`HOOK_PAGE_MAX`]; a name nobody posted to is empty.
    pub(crate) fn read(&self, name: &str, after: u64) -> Result<HookPage, HookError> {
        check_name(name)?;
        let (found, dropped) = {
            let state = self.lock();
            let Some(hook) = state.hooks.get(name) else {
                return Ok(HookPage {
                    entries: Vec::new(),
                    next: after,
                    dropped: 0,
                });
            };
            let start = hook.requests.partition_point(|(cursor, _)| *cursor <= after);
            let found: Vec<_> = hook.requests.iter().skip(start).take(HOOK_PAGE_MAX).cloned().collect();
            (found, hook.dropped)
        };
        let entries: Vec<HookEntry> = found
            .into_iter()
            .map(|(cursor, request)| request.into_entry(cursor))
            .collect();
        let next = entries.last().map_or(after, |entry| entry.cursor);
        Ok(HookPage { entries, next, dropped })
    }

    /// All names that hold something, in alphabetical order.
    pub(crate) fn list(&self) -> Vec<HookSummary> {
        let state = self.lock();
        let summary = |(name, hook): (&String, &Hook)| HookSummary {
            name: name.clone(),
            held: hook.requests.len(),
            dropped: hook.dropped,
            oldest: hook.requests.front().map_or(0, |(cursor, _)| *cursor),
            newest: hook.requests.back().map_or(0, |(cursor, _)| *cursor),
        };
        state.hooks.iter().map(summary).collect()
    }

    /// Forgets all requests and names; cursors go on rising, so that a waiting reader misses nothing.
    pub(crate) fn clear(&self) {
        self.lock().hooks.clear();
        self.tick();
    }

    fn tick(&self) {
        self.changed.send_modify(|ticks| *ticks += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook {
    fn push(&mut self, cursor: u64, request: HookRequest) {
        self.bytes += request.bytes();
        self.requests.push_back((cursor, request));
        while self.requests.len() > HOOK_REQUESTS_MAX || (self.bytes > HOOK_BYTES_MAX && self.requests.len() > 1) {
            let Some((_, oldest)) = self.requests.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.dropped += 1;
        }
    }
}

impl HookRequest {
    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        headers + self.method.len() + self.query.len() + self.body.len()
    }

    fn into_entry(self, cursor: u64) -> HookEntry {
        // Parsed when read, not when stored: parsed JSON can take many times the space of its text.
        let json = serde_json::from_str(&self.body).ok();
        let Self {
            method,
            query,
            headers,
            body,
            received_at,
        } = self;
        HookEntry {
            cursor,
            method,
            query,
            headers,
            body,
            json,
            received_at,
        }
    }
}

fn check_name(name: &str) -> Result<(), HookError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > HOOK_NAME_CHARS_MAX || !name.chars().all(allowed) {
        return Err(HookError::BadName);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
