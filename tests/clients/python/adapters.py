# SPDX-License-Identifier: Apache-2.0
"""Three Python clients behind one set of verbs, so that one list of scenarios drives them all."""
import asyncio
import collections
import os
import time

import aiokafka
import aiokafka.admin
import aiokafka.errors
import confluent_kafka
import confluent_kafka.admin
import kafka
import kafka.admin
import kafka.errors

BOOTSTRAP = os.environ["BOOTSTRAP"]
WAIT_S = 20

Record = collections.namedtuple("Record", "partition key value headers time_ms")


class Refused(Exception):
    """The broker's answer is an error; `code` is its number."""

    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


class Confluent:
    """confluent-kafka: librdkafka with a recent version of the protocol."""

    def __init__(self):
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": BOOTSTRAP})

    def close(self):
        pass

    @staticmethod
    def _result(futures):
        try:
            return next(iter(futures.values())).result(WAIT_S)
        except confluent_kafka.KafkaException as problem:
            raise Refused(problem.args[0].code()) from problem

    def create(self, topic, count=1, config=None):
        self._result(self.admin.create_topics(
            [confluent_kafka.admin.NewTopic(topic, count, 1, config=config or {})]))

    def delete(self, topic):
        self._result(self.admin.delete_topics([topic]))

    def topics(self):
        listed = self.admin.list_topics(timeout=WAIT_S).topics
        return {name: len(topic.partitions) for name, topic in listed.items()}

    def config(self, topic):
        kind = confluent_kafka.admin.ConfigResource.Type.TOPIC
        entries = self._result(self.admin.describe_configs(
            [confluent_kafka.admin.ConfigResource(kind, topic)]))
        return {name: entry.value for name, entry in entries.items()}

    def write(self, topic, records, codec="none", idempotent=False, acks="all"):
        acks = "all" if idempotent else acks
        producer = confluent_kafka.Producer({
            "bootstrap.servers": BOOTSTRAP, "compression.type": codec, "linger.ms": 5,
            "enable.idempotence": idempotent, "acks": acks, "message.max.bytes": 4000000})
        where, refused = [], []

        def delivered(error, message):
            if error is not None:
                refused.append(error.code())
            where.append((message.partition(), message.offset()))

        for record in records:
            producer.produce(topic, record.value, record.key, record.partition,
                             headers=record.headers, timestamp=record.time_ms,
                             on_delivery=delivered)
            producer.poll(0)
        assert producer.flush(WAIT_S) == 0
        if refused:
            raise Refused(refused[0])
        return where

    @staticmethod
    def _consumer(**options):
        return confluent_kafka.Consumer({
            "bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False,
            "auto.offset.reset": "error", "check.crcs": True, **options})

    def reader(self, topic, starts, wait_ms=100):
        """A generator of (offset, Record) without end."""
        consumer = self._consumer(**{"fetch.wait.max.ms": wait_ms,
                                     "socket.timeout.ms": wait_ms + 60000})
        consumer.assign([confluent_kafka.TopicPartition(topic, p, o) for p, o in starts.items()])
        try:
            while True:
                message = consumer.poll(WAIT_S)
                assert message is not None, "nothing arrived"
                assert message.error() is None, message.error()
                yield message.offset(), Record(message.partition(), message.key(), message.value(),
                                               message.headers() or [], message.timestamp()[1])
        finally:
            consumer.close()

    def ends(self, topic, partition):
        consumer = self._consumer()
        ends = consumer.get_watermark_offsets(
            confluent_kafka.TopicPartition(topic, partition), WAIT_S)
        consumer.close()
        return ends

    def offset_for_time(self, topic, partition, time_ms):
        consumer = self._consumer()
        found = consumer.offsets_for_times(
            [confluent_kafka.TopicPartition(topic, partition, time_ms)], WAIT_S)[0]
        consumer.close()
        return None if found.offset == confluent_kafka.OFFSET_END else found.offset

    def exists(self, topic):
        """Asks for the topic by name, as a consumer does: that must not create it."""
        consumer = self._consumer()
        error = consumer.list_topics(topic, WAIT_S).topics[topic].error
        consumer.close()
        return error is None


class KafkaPython:
    """kafka-python: a protocol and codecs of its own, in Python."""

    def __init__(self):
        self.admin = kafka.KafkaAdminClient(bootstrap_servers=BOOTSTRAP)

    def close(self):
        self.admin.close()

    def create(self, topic, count=1, config=None):
        try:
            self.admin.create_topics(
                [kafka.admin.NewTopic(topic, count, 1, topic_configs=config or {})],
                timeout_ms=WAIT_S * 1000)
        except kafka.errors.KafkaError as problem:
            raise Refused(problem.errno) from problem

    def delete(self, topic):
        try:
            self.admin.delete_topics([topic], timeout_ms=WAIT_S * 1000)
        except kafka.errors.KafkaError as problem:
            raise Refused(problem.errno) from problem

    def topics(self):
        listed = self.admin.describe_topics()
        return {topic["name"]: len(topic["partitions"]) for topic in listed}

    def config(self, topic):
        kind = kafka.admin.ConfigResourceType.TOPIC
        described = self.admin.describe_configs([kafka.admin.ConfigResource(kind, topic)],
                                                config_filter="all")
        return {name: entry["value"] for name, entry in described["topic"][topic].items()}

    def write(self, topic, records, codec="none", idempotent=False, acks="all"):
        producer = kafka.KafkaProducer(
            bootstrap_servers=BOOTSTRAP, compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent, acks="all" if idempotent else acks, linger_ms=5,
            max_request_size=4000000)
        try:
            futures = [producer.send(topic, record.value, record.key, record.headers,
                                     record.partition, record.time_ms) for record in records]
            producer.flush(WAIT_S)
            done = [future.get(WAIT_S) for future in futures]
            return [(answer.partition, answer.offset) for answer in done]
        except kafka.errors.KafkaError as problem:
            raise Refused(problem.errno) from problem
        finally:
            producer.close()

    @staticmethod
    def _consumer(**options):
        return kafka.KafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False,
                                   auto_offset_reset="none", allow_auto_create_topics=False,
                                   consumer_timeout_ms=WAIT_S * 1000, **options)

    def reader(self, topic, starts, wait_ms=100):
        consumer = self._consumer(fetch_max_wait_ms=wait_ms)
        parts = {kafka.TopicPartition(topic, p): offset for p, offset in starts.items()}
        consumer.assign(list(parts))
        for part, offset in parts.items():
            consumer.seek(part, offset)
        try:
            for message in consumer:
                yield message.offset, Record(message.partition, message.key, message.value,
                                             list(message.headers), message.timestamp)
            raise AssertionError("nothing arrived")
        finally:
            consumer.close()

    def ends(self, topic, partition):
        consumer = self._consumer()
        part = kafka.TopicPartition(topic, partition)
        ends = consumer.beginning_offsets([part])[part], consumer.end_offsets([part])[part]
        consumer.close()
        return ends

    def offset_for_time(self, topic, partition, time_ms):
        consumer = self._consumer()
        part = kafka.TopicPartition(topic, partition)
        found = consumer.offsets_for_times({part: time_ms})[part]
        consumer.close()
        return None if found is None else found.offset

    def exists(self, topic):
        consumer = self._consumer()
        known = consumer.partitions_for_topic(topic)
        consumer.close()
        return bool(known)


class AioKafka:
    """aiokafka: asyncio, and older versions of most requests."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def close(self):
        self.loop.close()

    def _wait(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 3 * WAIT_S))

    def _with(self, make, use):
        """Runs use(client) on a started client and ends it."""
        async def run():
            client = make()
            await client.start()
            try:
                return await use(client)
            finally:
                await (client.close() if hasattr(client, "close") else client.stop())
        try:
            return self._wait(run())
        except aiokafka.errors.KafkaError as problem:
            raise Refused(getattr(problem, "errno", None)) from problem

    def _admin(self, use):
        return self._with(lambda: aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP),
                          use)

    def create(self, topic, count=1, config=None):
        answer = self._admin(lambda client: client.create_topics(
            [aiokafka.admin.NewTopic(topic, count, 1, topic_configs=config or {})]))
        if answer.topic_errors[0][1] != 0:
            raise Refused(answer.topic_errors[0][1])

    def delete(self, topic):
        answer = self._admin(lambda client: client.delete_topics([topic]))
        if answer.topic_error_codes[0][1] != 0:
            raise Refused(answer.topic_error_codes[0][1])

    def topics(self):
        described = self._admin(lambda client: client.describe_topics())
        return {topic["topic"]: len(topic["partitions"]) for topic in described}

    def config(self, topic):
        kind = aiokafka.admin.config_resource.ConfigResourceType.TOPIC
        answers = self._admin(lambda client: client.describe_configs(
            [aiokafka.admin.config_resource.ConfigResource(kind, topic)]))
        return {entry[0]: entry[1] for entry in answers[0].resources[0][4]}

    def write(self, topic, records, codec="none", idempotent=False, acks="all"):
        async def send_all(producer):
            futures = []
            for record in records:
                futures.append(await producer.send(
                    topic, record.value, record.key, record.partition, record.time_ms,
                    record.headers))
            done = [await future for future in futures]
            return [(answer and answer.partition, answer and answer.offset) for answer in done]

        return self._with(lambda: aiokafka.AIOKafkaProducer(
            bootstrap_servers=BOOTSTRAP, compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent, acks="all" if idempotent else acks, linger_ms=5,
            max_request_size=4000000), send_all)

    @staticmethod
    def _consumer(**options):
        return aiokafka.AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False,
                                         auto_offset_reset="none", **options)

    def reader(self, topic, starts, wait_ms=100):
        async def start():
            consumer = self._consumer(fetch_max_wait_ms=wait_ms)
            await consumer.start()
            consumer.assign([aiokafka.TopicPartition(topic, p) for p in starts])
            for partition, offset in starts.items():
                consumer.seek(aiokafka.TopicPartition(topic, partition), offset)
            return consumer

        consumer = self._wait(start())
        try:
            while True:
                message = self._wait(consumer.getone())
                yield message.offset, Record(message.partition, message.key, message.value,
                                             list(message.headers), message.timestamp)
        finally:
            self._wait(consumer.stop())

    def ends(self, topic, partition):
        part = aiokafka.TopicPartition(topic, partition)

        async def ask(consumer):
            return ((await consumer.beginning_offsets([part]))[part],
                    (await consumer.end_offsets([part]))[part])
        return self._with(self._consumer, ask)

    def offset_for_time(self, topic, partition, time_ms):
        part = aiokafka.TopicPartition(topic, partition)
        found = self._with(self._consumer,
                           lambda consumer: consumer.offsets_for_times({part: time_ms}))[part]
        return None if found is None else found.offset

    def exists(self, topic):
        return topic in self.topics()


CLIENTS = {"confluent": Confluent, "kafka-python": KafkaPython, "aiokafka": AioKafka}


def _is_served(client, probe, topic, count):
    if client.topics().get(topic) != count:
        return False
    try:
        probe.offsets_for_times([confluent_kafka.TopicPartition(topic, partition, 0)
                                 for partition in range(count)], WAIT_S)
        return True
    except confluent_kafka.KafkaException:
        return False


def wait_served(client, topic, count=1):
    """Apache Kafka answers a creation, then lists the topic, then opens its logs one by one; what
    is sent in between is tried again, behind its successors where idempotence is off."""
    deadline = time.monotonic() + WAIT_S
    probe = confluent_kafka.Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused"})
    while not _is_served(client, probe, topic, count):
        assert time.monotonic() < deadline, f"{topic} is created, but not served"
        time.sleep(0.05)
    probe.close()
