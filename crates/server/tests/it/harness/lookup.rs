//! Names that a test makes up, and that may change their mind; all others are the machine's.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use wharf_core::lookup::{Lookup, SystemLookup};

/// Resolves as a test says.
#[derive(Default)]
pub(crate) struct TestLookup {
    names: Mutex<HashMap<String, Name>>,
}

/// What a name resolves to.
struct Name {
    /// The answers, in turn.
    answers: Vec<Vec<IpAddr>>,
    asked: usize,
}

impl TestLookup {
    /// From now on a name resolves to these addresses; to the next ones with each question, and after the last to the first again.
    pub(crate) fn answers(&self, name: &str, answers: &[&[&str]]) {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        self.names
            .lock()
            .unwrap()
            .insert(name.to_owned(), Name { answers, asked: 0 });
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.names.lock().unwrap().get(name).map_or(0, |name| name.asked)
    }
}

#[async_trait]
impl Lookup for TestLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(name) = self.names.lock().unwrap().get_mut(name) {
            name.asked += 1;
            return Ok(name.answers[(name.asked - 1) % name.answers.len()].clone());
        }
        SystemLookup.addresses(name).await
    }
}
