//! What names resolve to, passed in so that tests can have names of their own, and names that change their mind.
//!
//! For addresses that a caller names. Whoever asks checks the answer and connects to exactly what was checked.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Resolves the names of hosts.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a name, in the order in which they are to be tried.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
