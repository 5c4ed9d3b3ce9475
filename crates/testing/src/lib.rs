//! The programs of others that tests run against: S3, as two implementations that share nothing, and PostgreSQL.
//!
//! For tests alone: it panics where one does not start. Everything listens on this machine only, keeps its data in a temporary
//! folder, and ends when it is dropped. What it needs is installed by `./dev test`. Knows nothing of Wharf.

mod moto;
mod postgres;
mod python;
mod s3;

pub use moto::Moto;
pub use postgres::Postgres;
pub use python::python;
pub use s3::S3;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where a program can listen that is told its port.
fn free_port() -> u16 {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).expect("this machine has free ports");
    listener.local_addr().expect("it is bound").port()
}
