// SPDX-License-Identifier: Apache-2.0

//! rskafka.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use chrono::{TimeZone, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};

use crate::{expect, fail, large_record, make_records, topic_name, Record};
use crate::{RECORD_COUNT, TIME_STEP_MS, WAIT};

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::NoCompression),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

/// rskafka tries for ever; a test does not.
async fn within<T, E: std::fmt::Debug>(
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> T {
    match tokio::time::timeout(WAIT, future).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => fail!("rskafka: {what}: {error:?}"),
        Err(_) => fail!("rskafka: {what}: no answer"),
    }
}

/// The protocol error that must come.
async fn refused<T>(what: &str, future: impl Future<Output = Result<T, Error>>) -> ProtocolError {
    match tokio::time::timeout(WAIT, future).await {
        Ok(Err(Error::ServerError { protocol_error, .. })) => protocol_error,
        Ok(Err(error)) => fail!("rskafka: {what}: {error:?}"),
        Ok(Ok(_)) => fail!("rskafka: {what} was accepted"),
        Err(_) => fail!("rskafka: {what}: no answer"),
    }
}

fn encode(record: &Record) -> rskafka::record::Record {
    rskafka::record::Record {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
        timestamp: Utc.timestamp_millis_opt(record.time_ms).unwrap(),
    }
}

fn decode(record: rskafka::record::Record) -> Record {
    Record {
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().collect(),
        time_ms: record.timestamp.timestamp_millis(),
    }
}

async fn create(client: &Client, name: &str, partition_count: i32) -> String {
    let topic = topic_name("rskafka", name);
    let controller = client
        .controller_client()
        .unwrap_or_else(|e| fail!("rskafka: {e:?}"));
    within(
        "create",
        controller.create_topic(&topic, partition_count, 1, 10000),
    )
    .await;
    topic
}

async fn open(client: &Client, topic: &str, partition: i32) -> PartitionClient {
    let retry = UnknownTopicHandling::Retry;
    within(
        "partition",
        client.partition_client(topic, partition, retry),
    )
    .await
}

async fn read(part: &PartitionClient, start: i64, count: usize) -> Vec<Record> {
    let mut records = vec![];
    while records.len() < count {
        let next = start + records.len() as i64;
        let (found, high) = within("fetch", part.fetch_records(next, 1..4_000_000, 500)).await;
        expect!(
            high >= start + count as i64,
            "rskafka: high watermark {high}"
        );
        for item in found {
            let due = start + records.len() as i64;
            expect!(
                item.offset == due,
                "rskafka: offset {}, expected {due}",
                item.offset
            );
            records.push(decode(item.record));
        }
    }
    records.truncate(count);
    records
}

async fn codecs(client: &Client, first: i64) {
    for (name, codec) in CODECS {
        let topic = create(client, &format!("codec-{name}"), 2).await;
        let part = open(client, &topic, 1).await;
        let records = make_records(RECORD_COUNT, first);
        let mut offsets = vec![];
        for chunk in records.chunks(300) {
            let sent = chunk.iter().map(encode).collect();
            offsets.extend(within("produce", part.produce(sent, codec)).await);
        }
        expect!(
            offsets.iter().copied().eq(0..RECORD_COUNT as i64),
            "rskafka: {offsets:?}"
        );
        expect!(
            read(&part, 0, RECORD_COUNT).await == records,
            "rskafka: {name}: other records"
        );
        let middle = read(&part, 777, 100).await;
        expect!(
            middle == records[777..877],
            "rskafka: {name}: other records from 777"
        );
        println!("ok rskafka codec {name}");
    }
}

async fn offsets(client: &Client, first: i64) {
    let topic = create(client, "offsets", 1).await;
    let part = open(client, &topic, 0).await;
    let sent = make_records(RECORD_COUNT, first)
        .iter()
        .map(encode)
        .collect();
    within("produce", part.produce(sent, Compression::Zstd)).await;
    for (at, expected) in [
        (OffsetAt::Earliest, 0),
        (OffsetAt::Latest, RECORD_COUNT as i64),
        (
            OffsetAt::Timestamp(Utc.timestamp_millis_opt(1000).unwrap()),
            0,
        ),
        (
            OffsetAt::Timestamp(Utc.timestamp_millis_opt(first + 1).unwrap()),
            1,
        ),
        (
            OffsetAt::Timestamp(
                Utc.timestamp_millis_opt(first + 500 * TIME_STEP_MS)
                    .unwrap(),
            ),
            500,
        ),
        (
            OffsetAt::Timestamp(Utc.timestamp_millis_opt(first + 86_000_000).unwrap()),
            -1,
        ),
    ] {
        let got = within("get_offset", part.get_offset(at)).await;
        expect!(
            got == expected,
            "rskafka: offset at {at:?}: {got}, expected {expected}"
        );
    }
    let error = refused(
        "fetch behind the end",
        part.fetch_records(5000, 1..1000, 100),
    )
    .await;
    expect!(
        error == ProtocolError::OffsetOutOfRange,
        "rskafka: behind the end: {error:?}"
    );
    println!("ok rskafka offsets");
}

async fn large(client: &Client, first: i64) {
    let topic = create(client, "large", 1).await;
    let part = open(client, &topic, 0).await;
    let below = large_record(1_048_000, first);
    let codec = Compression::NoCompression;
    within("produce", part.produce(vec![encode(&below)], codec)).await;
    let above = encode(&large_record(1_050_000, first));
    let error = refused("a record above the limit", part.produce(vec![above], codec)).await;
    expect!(
        error == ProtocolError::MessageTooLarge,
        "rskafka: too large: {error:?}"
    );
    within("produce", part.produce(vec![encode(&below)], codec)).await;
    expect!(
        read(&part, 0, 2).await == [below.clone(), below],
        "rskafka: large: other records"
    );
    println!("ok rskafka large");
}

async fn listed(client: &Client, topic: &str) -> usize {
    let topics = within("list topics", client.list_topics()).await;
    topics
        .iter()
        .find(|t| t.name == topic)
        .map_or(0, |t| t.partitions.len())
}

async fn admin(client: &Client) {
    let controller = client
        .controller_client()
        .unwrap_or_else(|e| fail!("rskafka: {e:?}"));
    let topic = create(client, "admin", 30).await;
    let began = Instant::now();
    while listed(client, &topic).await != 30 {
        expect!(
            began.elapsed() < WAIT,
            "rskafka: the new topic is not listed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = refused(
        "a second creation",
        controller.create_topic(&topic, 1, 1, 10000),
    )
    .await;
    expect!(
        error == ProtocolError::TopicAlreadyExists,
        "rskafka: {error:?}"
    );
    let error = refused(
        "a bad name",
        controller.create_topic("bad/name", 1, 1, 10000),
    )
    .await;
    expect!(
        error == ProtocolError::InvalidTopicException,
        "rskafka: {error:?}"
    );
    within("delete", controller.delete_topic(&topic, 10000)).await;
    while listed(client, &topic).await != 0 {
        expect!(
            began.elapsed() < WAIT,
            "rskafka: the deleted topic is still listed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("ok rskafka admin");
}

/// A fetch that waits for the record that is produced after it was sent.
async fn long_poll(client: &Client, first: i64) {
    let topic = create(client, "poll", 1).await;
    let reader = open(client, &topic, 0).await;
    let writer = open(client, &topic, 0).await;
    for (i, record) in make_records(20, first).iter().enumerate() {
        let wait = reader.fetch_records(i as i64, 1..100_000, 15_000);
        let send = writer.produce(vec![encode(record)], Compression::NoCompression);
        let (found, _) = tokio::join!(within("fetch", wait), within("produce", send));
        expect!(found.0.len() == 1, "rskafka: {} records", found.0.len());
        expect!(
            decode(found.0[0].record.clone()) == *record,
            "rskafka: poll: another record"
        );
    }
    println!("ok rskafka long poll");
}

pub async fn run(first: i64) {
    let made = ClientBuilder::new(vec![crate::bootstrap()]).build();
    let client = within("connect", made).await;
    codecs(&client, first).await;
    offsets(&client, first).await;
    large(&client, first).await;
    admin(&client).await;
    long_poll(&client, first).await;
}
