# SPDX-License-Identifier: Apache-2.0
"""Wrong wishes about topics: names, counts, settings, ids, and requests of the wrong shape."""
import wire
from register import case, cases
from wire import int32, int8, string

BAD_NAMES = {"empty": "", "dot": ".", "dots": "..", "slash": "a/b", "space": "a b", "nul": "a\0b",
             "accent": "café", "long": "x" * 250, "newline": "a\nlevel=error",
             "escape": "../../etc"}


@cases(17, **BAD_NAMES)
def create_topic_name(broker, name):
    with broker.connect() as connection:
        return wire.create_topic(connection, name)


@cases(17, **BAD_NAMES)
def metadata_name(broker, name):
    with broker.connect() as connection:
        return wire.topic_error(connection, name, create=True)


@case(17, kafka=29)
def create_topic_metadata_log(broker):
    with broker.connect() as connection:
        return wire.create_topic(connection, "__cluster_metadata")


@case(17, kafka={3, 5, 29})
def metadata_metadata_log(broker):
    with broker.connect() as connection:
        return wire.topic_error(connection, "__cluster_metadata", create=True)


@cases(37, zero=0, negative=-5, most_negative=-(1 << 31))
def create_topic_partitions(broker, count):
    with broker.connect() as connection:
        return wire.create_topic(connection, broker.prefix + "count", count=count)


@cases(38, zero=0, above=7, negative=-3)
def create_topic_replicas(broker, replicas):
    with broker.connect() as connection:
        return wire.create_topic(connection, broker.prefix + "replicas", replicas=replicas)


@cases(40, unknown=("no.such.key", "1"), not_a_number=("retention.ms", "soon"),
       out_of_range=("segment.bytes", "-1"), not_a_policy=("cleanup.policy", "maybe"))
def create_topic_config(broker, setting):
    with broker.connect() as connection:
        return wire.create_topic(connection, broker.prefix + "config", config=[setting])


@case(36)
def create_topic_again(broker):
    with broker.connect() as connection:
        return wire.create_topic(connection, broker.topic)


@case((0, {"retention.ms": "2000", "preallocate": "true"}))
def create_topic_config_forms(broker):
    """Said in other words, and twice: the last one holds, and is shown as Kafka would write it."""
    topic = broker.prefix + "forms"
    with broker.connect() as connection:
        assert wire.create_topic(connection, topic, config=[
            ("retention.ms", "1000"), ("retention.ms", " +2000 "), ("preallocate", "TRUE")]) == 0
        return wire.topic_configs(connection, topic, ["retention.ms", "preallocate"])


@cases(17, **BAD_NAMES)
def describe_configs_name(broker, name):
    with broker.connect() as connection:
        return wire.topic_configs(connection, name, ["retention.ms"])[0]


@case(((42,), 0))
def delete_topic_twice(broker):
    topic = broker.prefix + "doubled"
    with broker.connect() as connection:
        assert wire.create_topic(connection, topic) == 0
        reader = connection.request(wire.DELETE_TOPICS, 3,
                                    wire.array([string(topic)] * 2) + int32(10000))
        reader.int32()
        errors = {(reader.string(), reader.int16())[1] for _ in range(reader.int32())}
        return tuple(errors), wire.topic_error(connection, topic)


@cases(42, id=(b"\1" * 16, b"\2a"), null=(bytes(16), b"\0"))
def metadata_id_early(broker, topic):
    """Version 10, whose format has ids and null names that only version 12 may use."""
    with broker.connect() as connection:
        identity, name = topic
        body = b"\0\2" + identity + name + b"\0" + int8(1) + int8(0) + int8(0) + b"\0"
        reader = connection.request(wire.METADATA, 10, body)
        assert reader.int8() == 0
        reader.int32()
        for _ in range(reader.int8() - 1):
            reader.int32()
            reader.take(reader.int8() - 1)
            reader.int32()
            reader.take(max(reader.int8() - 1, 0))
            reader.int8()
        reader.take(reader.int8() - 1)
        reader.int32()
        assert reader.int8() == 2
        return reader.int16()


@cases(115, none=0, unknown=3, negative=-1)
def describe_cluster_endpoint(broker, kind):
    with broker.connect() as connection:
        reader = connection.request(wire.DESCRIBE_CLUSTER, 1, b"\0" + int8(0) + int8(kind) + b"\0")
        assert reader.int8() == 0
        reader.int32()
        return reader.int16()


@case(114)
def describe_cluster_controllers(broker):
    with broker.connect() as connection:
        reader = connection.request(wire.DESCRIBE_CLUSTER, 1, b"\0" + int8(0) + int8(2) + b"\0")
        assert reader.int8() == 0
        reader.int32()
        return reader.int16()


@case(3)
def delete_topic_unknown(broker):
    with broker.connect() as connection:
        return wire.delete_topic(connection, broker.prefix + "never")
