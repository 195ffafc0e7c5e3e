# SPDX-License-Identifier: Apache-2.0
"""Every version of every API of groups, spoken with kafka-python's codecs, which are not ours."""
import socket
import struct

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until
from kafka.protocol.admin.groups import (DeleteGroupsRequest, DeleteGroupsResponse,
                                         DescribeGroupsRequest, DescribeGroupsResponse,
                                         ListGroupsRequest, ListGroupsResponse)
from kafka.protocol.consumer.group import (HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
                                           JoinGroupResponse, LeaveGroupRequest,
                                           LeaveGroupResponse, OffsetCommitRequest,
                                           OffsetCommitResponse, OffsetDeleteRequest,
                                           OffsetDeleteResponse, OffsetFetchRequest,
                                           OffsetFetchResponse, SyncGroupRequest,
                                           SyncGroupResponse)
from kafka.protocol.metadata.find_coordinator import (FindCoordinatorRequest,
                                                      FindCoordinatorResponse)

(ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, INVALID_SESSION_TIMEOUT, METADATA_TOO_LARGE,
 UNKNOWN_TOPIC, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID) = 22, 25, 26, 12, 3, 23, 24
NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND, MEMBER_ID_REQUIRED, FENCED, SUBSCRIBED = 68, 69, 79, 82, 86
# A subscription to the topic `versions`, as the consumer protocol writes it.
SUBSCRIPTION = struct.pack(">hih", 0, 1, 8) + b"versions" + struct.pack(">i", -1)
METADATA_SIZE_MAX = 4096


class Wire:
    """One connection; a call is a request and its answer."""

    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 30)

    def send(self, request):
        request.with_header(correlation_id=7, client_id="versions")
        self.socket.sendall(request.encode(framed=True, header=True))

    def receive(self, kind, version):
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
            got = self.socket.recv(65536)
            assert got, "the broker closed the connection"
            data += got
        return kind[version].decode(data[4:], header=True)

    def call(self, request, kind):
        version = request.API_VERSION
        self.send(request)
        return self.receive(kind, version)


@pytest.fixture
def wire(served):
    admin = AdminClient({"bootstrap.servers": served.bootstrap})
    if "versions" not in admin.list_topics(timeout=30).topics:
        admin.create_topics([NewTopic("versions", 3, 1)])["versions"].result()
    made = Wire(served.bootstrap)
    wait_until(lambda: find(made, 3, "any").error_code == 0, "a coordinator")
    # 14 while the topic of groups is being loaded or made.
    wait_until(lambda: commit(made, 8, "ready", {0: 1})[0] == 0, "a loaded coordinator")
    yield made
    made.socket.close()


def find(wire, version, group):
    fields = {"key": group} if version < 4 else {"coordinator_keys": [group]}
    answer = wire.call(FindCoordinatorRequest[version](key_type=0, **fields),
                       FindCoordinatorResponse)
    return answer if version < 4 else answer.coordinators[0]


def join(wire, version, group, member="", session_ms=10000, instance=None, wait=True,
         protocol_type="consumer"):
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=SUBSCRIPTION)
    request = JoinGroupRequest[version](
        group_id=group, session_timeout_ms=session_ms, rebalance_timeout_ms=session_ms,
        member_id=member, group_instance_id=instance, protocol_type=protocol_type,
        protocols=[protocol])
    if not wait:
        wire.send(request)
        return None
    return wire.call(request, JoinGroupResponse)


def enter(wire, version, group, instance=None):
    """A member's whole way in; its id and generation."""
    answer = join(wire, version, group, instance=instance)
    if version >= 4 and instance is None:
        assert answer.error_code == MEMBER_ID_REQUIRED
        assert answer.member_id.startswith("versions-")
        answer = join(wire, version, group, answer.member_id)
    assert answer.error_code == 0
    assert answer.protocol_name == "range"
    assert answer.leader == answer.member_id
    assert [m.member_id for m in answer.members] == [answer.member_id]
    assert bytes(answer.members[0].metadata) == SUBSCRIPTION
    return answer.member_id, answer.generation_id


def sync(wire, version, group, member, generation, assignment=b"yours", **fields):
    part = SyncGroupRequest.SyncGroupRequestAssignment(member_id=member, assignment=assignment)
    if version >= 5:
        fields = {"protocol_type": "consumer", "protocol_name": "range", **fields}
    return wire.call(SyncGroupRequest[version](
        group_id=group, generation_id=generation, member_id=member, assignments=[part], **fields),
        SyncGroupResponse)


def beat(wire, version, group, member, generation):
    return wire.call(HeartbeatRequest[version](group_id=group, generation_id=generation,
                                               member_id=member), HeartbeatResponse).error_code


def leave(wire, version, group, member):
    if version < 3:
        return wire.call(LeaveGroupRequest[version](group_id=group, member_id=member),
                         LeaveGroupResponse).error_code
    leaver = LeaveGroupRequest.MemberIdentity(member_id=member, group_instance_id=None)
    answer = wire.call(LeaveGroupRequest[version](group_id=group, members=[leaver]),
                       LeaveGroupResponse)
    return answer.error_code or answer.members[0].error_code


def commit(wire, version, group, offsets, member="", generation=-1, metadata="", topic="versions"):
    kind = OffsetCommitRequest.OffsetCommitRequestTopic
    places = [kind.OffsetCommitRequestPartition(
        partition_index=p, committed_offset=o, committed_leader_epoch=4,
        committed_metadata=metadata) for p, o in offsets.items()]
    answer = wire.call(OffsetCommitRequest[version](
        group_id=group, generation_id_or_member_epoch=generation, member_id=member,
        group_instance_id=None, retention_time_ms=-1,
        topics=[kind(name=topic, partitions=places)]), OffsetCommitResponse)
    # Kafka puts what it refused first.
    places = sorted(answer.topics[0].partitions, key=lambda place: place.partition_index)
    return [place.error_code for place in places]


def fetch(wire, version, group, partitions=(0, 1)):
    """{partition: (offset, epoch, metadata, error)}; partitions None asks for all."""
    if version < 8:
        topics = None if partitions is None else [OffsetFetchRequest.OffsetFetchRequestTopic(
            name="versions", partition_indexes=list(partitions))]
        answer = wire.call(OffsetFetchRequest[version](group_id=group, topics=topics,
                                                       require_stable=True), OffsetFetchResponse)
    else:
        kind = OffsetFetchRequest.OffsetFetchRequestGroup
        topics = None if partitions is None else [kind.OffsetFetchRequestTopics(
            name="versions", partition_indexes=list(partitions))]
        answer = wire.call(OffsetFetchRequest[version](
            groups=[kind(group_id=group, member_id=None, member_epoch=-1, topics=topics)],
            require_stable=True), OffsetFetchResponse).groups[0]
    if version >= 2:
        assert answer.error_code == 0
    return {p.partition_index: (p.committed_offset, p.committed_leader_epoch, p.metadata,
                                p.error_code)
            for topic in answer.topics for p in topic.partitions}


def describe(wire, version, group):
    answer = wire.call(DescribeGroupsRequest[version](
        groups=[group], include_authorized_operations=True), DescribeGroupsResponse)
    return answer.groups[0]


@pytest.mark.parametrize("version", range(0, 7))
def test_find_coordinator(wire, served, version):
    answer = find(wire, version, "any")
    assert answer.error_code == 0
    assert f"{answer.host}:{answer.port}" == served.bootstrap


@pytest.mark.parametrize("version", range(0, 10))
def test_members(wire, name, version):
    """JoinGroup's version, and those of its company that go with it."""
    lower = min(version, 5)
    member, generation = enter(wire, version, name)
    assert beat(wire, min(version, 4), name, member, generation) == 0  # between join and sync
    answer = sync(wire, lower, name, member, generation)
    assert (answer.error_code, bytes(answer.assignment)) == (0, b"yours")
    assert bytes(sync(wire, lower, name, member, generation).assignment) == b"yours"
    assert beat(wire, min(version, 4), name, member, generation) == 0
    assert beat(wire, min(version, 4), name, member, generation + 1) == ILLEGAL_GENERATION
    assert beat(wire, min(version, 4), name, "nobody", generation) == UNKNOWN_MEMBER_ID
    assert sync(wire, lower, name, member, generation + 1).error_code == ILLEGAL_GENERATION
    assert join(wire, version, name, "nobody").error_code == UNKNOWN_MEMBER_ID
    assert join(wire, version, name, session_ms=1).error_code == INVALID_SESSION_TIMEOUT
    assert join(wire, version, name,
                protocol_type="connect").error_code in (INCONSISTENT_PROTOCOL,)
    assert join(wire, version, "").error_code == INVALID_GROUP_ID
    if version >= 5:
        wrong = sync(wire, 5, name, member, generation, protocol_name="other")
        assert wrong.error_code == INCONSISTENT_PROTOCOL
    assert leave(wire, lower, name, "nobody") == UNKNOWN_MEMBER_ID
    assert leave(wire, lower, name, member) == 0
    assert beat(wire, min(version, 4), name, member, generation) == UNKNOWN_MEMBER_ID
    assert leave(wire, lower, "never-seen", member) == UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(5, 10))
def test_static_members(wire, name, version):
    first, generation = enter(wire, version, name, instance="fixed")
    assert sync(wire, 5, name, first, generation, group_instance_id="fixed").error_code == 0
    answer = join(wire, version, name, instance="fixed")
    assert answer.error_code == 0
    assert answer.generation_id == generation
    assert answer.member_id != first
    request = HeartbeatRequest[4](group_id=name, generation_id=generation, member_id=first,
                                  group_instance_id="fixed")
    assert wire.call(request, HeartbeatResponse).error_code == FENCED


@pytest.mark.parametrize("version", range(2, 10))
def test_commit_and_fetch(wire, name, version):
    epoch = 4 if version >= 6 else -1
    assert commit(wire, version, name, {0: 10, 1: 11}, metadata="note") == [0, 0]
    assert commit(wire, version, name, {0: 1, 9: 1}) == [0, UNKNOWN_TOPIC]
    assert commit(wire, version, name, {0: 1}, topic="no-such-topic") == [UNKNOWN_TOPIC]
    long = "x" * (METADATA_SIZE_MAX + 1)
    assert commit(wire, version, name, {0: 2}, metadata=long) == [METADATA_TOO_LARGE]
    assert commit(wire, version, name, {0: 2}, metadata=long[1:]) == [0]
    for reader in range(1, 10):
        shown = epoch if reader >= 5 else -1
        assert fetch(wire, reader, name, (1, 2)) == {1: (11, shown, "note", 0), 2: (-1, -1, "", 0)}
        if reader >= 2:
            assert sorted(fetch(wire, reader, name, None)) == [0, 1]
            assert fetch(wire, reader, "never-seen", None) == {}
        assert fetch(wire, reader, "never-seen", (0,)) == {0: (-1, -1, "", 0)}
    absent = GROUP_ID_NOT_FOUND if version >= 9 else ILLEGAL_GENERATION
    assert commit(wire, version, name + "-absent", {0: 1}, "somebody", 3) == [absent]


@pytest.mark.parametrize("version", range(2, 10))
def test_commit_of_a_member(wire, name, version):
    member, generation = enter(wire, 9, name)
    assert sync(wire, 5, name, member, generation).error_code == 0
    assert commit(wire, version, name, {0: 5}, member, generation) == [0]
    assert commit(wire, version, name, {0: 6}, member, generation + 1) == [ILLEGAL_GENERATION]
    assert commit(wire, version, name, {0: 6}, "nobody", generation) == [UNKNOWN_MEMBER_ID]
    assert commit(wire, version, name, {0: 6}) == [UNKNOWN_MEMBER_ID]  # the group has members
    assert fetch(wire, 9, name, (0,))[0][0] == 5


@pytest.mark.parametrize("version", range(0, 7))
def test_describe(wire, name, version):
    absent = describe(wire, version, "never-seen")
    assert absent.group_state == "Dead"
    assert absent.error_code == (GROUP_ID_NOT_FOUND if version >= 6 else 0)
    commit(wire, 8, name, {0: 1})
    assert describe(wire, version, name).group_state == "Empty"
    member, generation = enter(wire, 9, name)
    assert describe(wire, version, name).group_state == "CompletingRebalance"
    sync(wire, 5, name, member, generation)
    answer = describe(wire, version, name)
    assert (answer.error_code, answer.group_state, answer.protocol_type,
            answer.protocol_data) == (0, "Stable", "consumer", "range")
    shown = answer.members[0]
    assert (shown.member_id, shown.client_id, shown.client_host) == \
        (member, "versions", "/127.0.0.1")
    assert bytes(shown.member_metadata) == SUBSCRIPTION
    assert bytes(shown.member_assignment) == b"yours"
    if version >= 3:
        operations = answer.authorized_operations
        assert operations if isinstance(operations, (set, list)) else operations > 0


@pytest.mark.parametrize("version", range(0, 6))
def test_list(wire, name, version):
    commit(wire, 8, name, {0: 1})
    member, generation = enter(wire, 9, name + "-live")
    sync(wire, 5, name + "-live", member, generation)
    answer = wire.call(ListGroupsRequest[version](), ListGroupsResponse)
    assert answer.error_code == 0
    listed = {group.group_id: group for group in answer.groups}
    assert listed[name].protocol_type == ""
    assert listed[name + "-live"].protocol_type == "consumer"
    if version >= 4:
        assert (listed[name].group_state, listed[name + "-live"].group_state) == \
            ("Empty", "Stable")
        answer = wire.call(ListGroupsRequest[version](states_filter=["stable"]),
                           ListGroupsResponse)
        names = {group.group_id for group in answer.groups}
        assert name not in names and name + "-live" in names
    if version >= 5:
        assert listed[name].group_type.lower() == "classic"
        answer = wire.call(ListGroupsRequest[version](types_filter=["Consumer"]),
                           ListGroupsResponse)
        assert name not in {group.group_id for group in answer.groups}


@pytest.mark.parametrize("version", range(0, 3))
def test_delete(wire, name, version):
    commit(wire, 8, name, {0: 1})
    member, generation = enter(wire, 9, name + "-live")
    answer = wire.call(DeleteGroupsRequest[version](
        groups_names=[name, name + "-live", "never-seen"]), DeleteGroupsResponse)
    assert {r.group_id: r.error_code for r in answer.results} == \
        {name: 0, name + "-live": NON_EMPTY_GROUP, "never-seen": GROUP_ID_NOT_FOUND}
    assert fetch(wire, 9, name, (0,))[0][0] == -1
    assert describe(wire, 6, name).error_code == GROUP_ID_NOT_FOUND
    assert leave(wire, 5, name + "-live", member) == 0
    assert generation == 1


def test_offset_delete(wire, name):
    def forget(group, topic, partition):
        kind = OffsetDeleteRequest.OffsetDeleteRequestTopic
        place = kind.OffsetDeleteRequestPartition(partition_index=partition)
        answer = wire.call(OffsetDeleteRequest[0](
            group_id=group, topics=[kind(name=topic, partitions=[place])]), OffsetDeleteResponse)
        return answer.error_code or answer.topics[0].partitions[0].error_code
    commit(wire, 8, name, {0: 1, 1: 2})
    assert forget(name, "versions", 0) == 0
    assert forget(name, "versions", 0) == 0
    assert forget(name, "no-such-topic", 0) == UNKNOWN_TOPIC
    assert forget("never-seen", "versions", 0) == GROUP_ID_NOT_FOUND
    assert fetch(wire, 9, name)[0][0] == -1
    assert fetch(wire, 9, name)[1][0] == 2
    member, generation = enter(wire, 9, name)
    sync(wire, 5, name, member, generation)
    assert forget(name, "versions", 1) == SUBSCRIBED
    assert fetch(wire, 9, name)[1][0] == 2


def test_a_parked_join_ends_with_its_connection(wire, served, name):
    """Whoever waits and goes away holds nothing up but its own session."""
    member, generation = enter(wire, 9, name)
    other = Wire(served.bootstrap)
    join(other, 3, name, session_ms=2000, wait=False)
    wait_until(lambda: beat(wire, 4, name, member, generation) == 27, "a rebalance")
    other.socket.close()
    answer = join(wire, 9, name, member, session_ms=2000)
    assert answer.error_code == 0
    assert answer.generation_id == generation + 1
