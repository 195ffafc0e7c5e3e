// SPDX-License-Identifier: Apache-2.0

//! The scenario list of tests/clients/README.md with two Rust clients: rskafka, which speaks the
//! protocol itself, and rdkafka, which binds the system's librdkafka.

mod pure;
mod rdk;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const RECORD_COUNT: usize = 1000;
pub const TIME_STEP_MS: i64 = 10;
pub const WAIT: Duration = Duration::from_secs(20);

/// Prints what is wrong and ends the program.
#[macro_export]
macro_rules! fail {
    ($($argument:tt)*) => {{
        println!("FAILED {}", format!($($argument)*));
        std::process::exit(1)
    }};
}

#[macro_export]
macro_rules! expect {
    ($condition:expr, $($argument:tt)*) => {
        if !$condition {
            $crate::fail!($($argument)*);
        }
    };
}

/// What every client can carry: header names are unique, because rskafka keeps them in a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub time_ms: i64,
}

pub fn bootstrap() -> String {
    std::env::var("BOOTSTRAP").unwrap_or_else(|_| fail!("set BOOTSTRAP=host:port"))
}

pub fn topic_name(client: &str, name: &str) -> String {
    let prefix = std::env::var("TOPIC_PREFIX").unwrap_or_default();
    format!("{prefix}{client}-{name}")
}

pub fn make_records(count: usize, first_time_ms: i64) -> Vec<Record> {
    (0..count)
        .map(|i| Record {
            key: (i % 7 != 0).then(|| format!("key-{}", i % 50).into_bytes()),
            value: (i % 11 != 5 || i % 7 == 0)
                .then(|| format!("{i:05} ").repeat(i * 7 % 131).into_bytes()),
            headers: (0..i % 4)
                .map(|j| (format!("header-{j}"), vec![j as u8; j * 100]))
                .collect(),
            time_ms: first_time_ms + i as i64 * TIME_STEP_MS,
        })
        .collect()
}

/// A record of that many bytes.
pub fn large_record(size: usize, time_ms: i64) -> Record {
    Record {
        key: None,
        value: Some(vec![b'L'; size]),
        headers: vec![],
        time_ms,
    }
}

/// A day ago: retention must not take the records.
fn first_time_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    (now.as_secs() as i64 - 86400) * 1000
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let first = first_time_ms();
    pure::run(first).await;
    rdk::run(first);
}
