// SPDX-License-Identifier: Apache-2.0

//! rdkafka: partitions are assigned by hand.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::{expect, fail, large_record, make_records, topic_name, Record};
use crate::{RECORD_COUNT, TIME_STEP_MS, WAIT};

/// Where each record went, or the first error. The producer's own thread and `flush` both take
/// reports, so their order says nothing.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<(Vec<(i32, i64)>, Option<RDKafkaErrorCode>)>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let mut seen = self.0.lock().unwrap();
        match result {
            Ok(message) => seen.0.push((message.partition(), message.offset())),
            Err((error, _)) => seen.1 = seen.1.or(error.rdkafka_error_code()),
        }
    }
}

fn write(
    topic: &str,
    partition_count: usize,
    settings: &[(&str, &str)],
    records: &[Record],
) -> (Vec<(i32, i64)>, Option<RDKafkaErrorCode>) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", crate::bootstrap())
        .set("message.max.bytes", "8000000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let reports = Reports::default();
    let producer: ThreadedProducer<_> = config
        .create_with_context(reports.clone())
        .unwrap_or_else(|e| fail!("rdkafka: producer: {e}"));
    for (i, record) in records.iter().enumerate() {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (name, value)| {
                all.insert(Header {
                    key: name,
                    value: Some(value),
                })
            });
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
            .partition((i % partition_count) as i32)
            .timestamp(record.time_ms)
            .headers(headers);
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        if let Err((error, _)) = producer.send(base) {
            fail!("rdkafka: send: {error}");
        }
    }
    producer
        .flush(WAIT)
        .unwrap_or_else(|e| fail!("rdkafka: flush: {e}"));
    let mut seen = reports.0.lock().unwrap();
    seen.0.sort_unstable();
    (seen.0.clone(), seen.1)
}

fn consumer() -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", crate::bootstrap())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50")
        .set("allow.auto.create.topics", "true")
        .create()
        .unwrap_or_else(|e| fail!("rdkafka: consumer: {e}"))
}

/// Asks for metadata until the topic, which that creates, has a leader.
fn create_by_metadata(consumer: &BaseConsumer, name: &str) -> String {
    let topic = topic_name("rdkafka", name);
    let began = Instant::now();
    loop {
        let error = match consumer.fetch_metadata(Some(&topic), WAIT) {
            Ok(metadata) => metadata.topics()[0].error().map(|e| format!("{e:?}")),
            Err(error) => fail!("rdkafka: metadata: {error}"),
        };
        if error.is_none() && consumer.fetch_watermarks(&topic, 0, WAIT).is_ok() {
            return topic;
        }
        expect!(
            began.elapsed() < WAIT,
            "rdkafka: {topic} is not served: {error:?}"
        );
    }
}

fn read(consumer: &BaseConsumer, topic: &str, offset: Offset, count: usize) -> Vec<(i64, Record)> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset)
        .unwrap_or_else(|e| fail!("rdkafka: {e}"));
    consumer
        .assign(&list)
        .unwrap_or_else(|e| fail!("rdkafka: assign: {e}"));
    let mut records = vec![];
    while records.len() < count {
        let message = match consumer.poll(WAIT) {
            Some(Ok(message)) => message,
            Some(Err(error)) => fail!("rdkafka: poll: {error}"),
            None => fail!("rdkafka: nothing arrived"),
        };
        let headers = message.headers().map_or(vec![], |all| {
            all.iter()
                .map(|h| (h.key.to_owned(), h.value.unwrap_or(b"null").to_vec()))
                .collect()
        });
        records.push((
            message.offset(),
            Record {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers,
                time_ms: message.timestamp().to_millis().unwrap_or(-1),
            },
        ));
    }
    records
}

fn round_trips(consumer: &BaseConsumer, first: i64) {
    let records = make_records(RECORD_COUNT, first);
    let expected: Vec<_> = (0..).zip(records.iter().cloned()).collect();
    for (name, settings) in [
        ("plain", [("acks", "1"), ("linger.ms", "5")]),
        (
            "idempotent",
            [("enable.idempotence", "true"), ("linger.ms", "1")],
        ),
        ("gzip", [("compression.type", "gzip"), ("linger.ms", "5")]),
        (
            "snappy",
            [("compression.type", "snappy"), ("linger.ms", "5")],
        ),
        ("lz4", [("compression.type", "lz4"), ("linger.ms", "5")]),
        (
            "zstd",
            [("compression.type", "zstd"), ("enable.idempotence", "true")],
        ),
    ] {
        let topic = create_by_metadata(consumer, name);
        let (offsets, error) = write(&topic, 1, &settings, &records);
        expect!(error.is_none(), "rdkafka: {name}: {error:?}");
        let dense = offsets
            .iter()
            .copied()
            .eq((0..RECORD_COUNT as i64).map(|o| (0, o)));
        expect!(dense, "rdkafka: {name}: delivered at {offsets:?}");
        let found = read(consumer, &topic, Offset::Beginning, RECORD_COUNT);
        expect!(found == expected, "rdkafka: {name}: other records");
        let found = read(consumer, &topic, Offset::Offset(555), 10);
        expect!(
            found == expected[555..565],
            "rdkafka: {name}: other records from 555"
        );
        println!("ok rdkafka {name}");
    }
}

fn times(consumer: &BaseConsumer, first: i64) {
    let topic = create_by_metadata(consumer, "times");
    write(
        &topic,
        1,
        &[("compression.type", "lz4")],
        &make_records(RECORD_COUNT, first),
    );
    let marks = consumer.fetch_watermarks(&topic, 0, WAIT);
    expect!(
        marks.as_ref().is_ok_and(|m| *m == (0, RECORD_COUNT as i64)),
        "rdkafka: {marks:?}"
    );
    for (time_ms, expected) in [
        (1, Offset::Offset(0)),
        (first + 1, Offset::Offset(1)),
        (first + 900 * TIME_STEP_MS, Offset::Offset(900)),
        (first + 86_000_000, Offset::End),
    ] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(time_ms))
            .unwrap();
        let found = consumer
            .offsets_for_times(list, WAIT)
            .unwrap_or_else(|e| fail!("rdkafka: offsets_for_times: {e}"));
        let got = found.elements()[0].offset();
        expect!(
            got == expected,
            "rdkafka: time {time_ms}: {got:?}, expected {expected:?}"
        );
    }
    println!("ok rdkafka times");
}

fn large(consumer: &BaseConsumer, first: i64) {
    let topic = create_by_metadata(consumer, "large");
    let (_, error) = write(&topic, 1, &[], &[large_record(1_048_000, first)]);
    expect!(error.is_none(), "rdkafka: below the limit: {error:?}");
    let (_, error) = write(&topic, 1, &[], &[large_record(1_050_000, first)]);
    let wanted = Some(RDKafkaErrorCode::MessageSizeTooLarge);
    expect!(error == wanted, "rdkafka: above the limit: {error:?}");
    println!("ok rdkafka large");
}

pub fn run(first: i64) {
    let consumer = consumer();
    round_trips(&consumer, first);
    times(&consumer, first);
    large(&consumer, first);
}
