// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// serverSide: groups by the consumer protocol of KIP-848.
type franz struct {
	admin      *kadm.Client
	serverSide bool
}

func franzClient(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap))...)
	check(err, "franz-go: client")
	return made
}

func newFranz(serverSide bool) client {
	return &franz{kadm.NewClient(franzClient()), serverSide}
}

func (c *franz) name() string {
	if c.serverSide {
		return "franz-go-848"
	}
	return "franz-go"
}

func (c *franz) create(topic string, partitions int, config map[string]string) error {
	entries := map[string]*string{}
	for name, value := range config {
		entries[name] = &value
	}
	_, err := c.admin.CreateTopic(context.Background(), int32(partitions), 1, entries, topic)
	return err
}

func (c *franz) remove(topic string) error {
	answer, err := c.admin.DeleteTopic(context.Background(), topic)
	if err != nil {
		return err
	}
	return answer.Err
}

func (c *franz) partitions(topic string) int {
	topics, err := c.admin.ListTopics(context.Background())
	check(err, "franz-go: list topics")
	return len(topics[topic].Partitions)
}

func (c *franz) config(topic, name string) string {
	described, err := c.admin.DescribeTopicConfigs(context.Background(), topic)
	check(err, "franz-go: describe configs")
	for _, entry := range described[0].Configs {
		if entry.Key == name {
			return entry.MaybeValue()
		}
	}
	return ""
}

// waitServed is for all three clients: Apache Kafka opens the logs of a new topic one by one after
// the creation was answered, and a client without idempotence loses order, or records, in between.
func waitServed(topic string, partitions int) {
	admin := kadm.NewClient(franzClient())
	defer admin.Close()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		listed, err := admin.ListEndOffsets(context.Background(), topic)
		if err == nil && listed.Error() == nil && len(listed[topic]) == partitions {
			return
		}
		if time.Since(began) > waitTime {
			fail("%s is created, but not served: %v", topic, err)
		}
	}
}

var (
	franzCodecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(),
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	franzAcks = map[int]kgo.Acks{-1: kgo.AllISRAcks(), 0: kgo.NoAck(), 1: kgo.LeaderAck()}
)

func (c *franz) write(topic, codec string, acks int, idempotent bool,
	records []record) ([]int64, error) {
	options := []kgo.Opt{kgo.ProducerBatchCompression(franzCodecs[codec]),
		kgo.RequiredAcks(franzAcks[acks]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(8 << 20), kgo.BrokerMaxWriteBytes(64 << 20)}
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite(),
			kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	producer := franzClient(options...)
	defer producer.Close()
	all := make([]*kgo.Record, len(records))
	for i, r := range records {
		all[i] = &kgo.Record{Topic: topic, Partition: int32(r.partition), Key: r.key,
			Value: r.value, Timestamp: r.time}
		for _, h := range r.headers {
			all[i].Headers = append(all[i].Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
	}
	if err := producer.ProduceSync(context.Background(), all...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(all))
	for i, r := range all {
		offsets[i] = r.Offset
	}
	return offsets, nil
}

func (c *franz) read(topic string, partition int, offset int64, count int) []record {
	consumer := franzClient(kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			topic: {int32(partition): kgo.NewOffset().At(offset)}}))
	defer consumer.Close()
	limit, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	records := []record{}
	for len(records) < count {
		fetches := consumer.PollFetches(limit)
		check(fetches.Err(), "franz-go: poll")
		for _, m := range fetches.Records() {
			if m.Offset != offset+int64(len(records)) {
				fail("franz-go: offset %d, expected %d", m.Offset, offset+int64(len(records)))
			}
			r := record{partition: partition, key: m.Key, value: m.Value, time: m.Timestamp}
			for _, h := range m.Headers {
				r.headers = append(r.headers, header{h.Key, h.Value})
			}
			records = append(records, r)
			if len(records) == count {
				break
			}
		}
	}
	return records
}

func (c *franz) consume(topic, group string, count int) []record {
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if c.serverSide {
		options = append(options, kgo.ServerSideBalancer())
	}
	consumer := franzClient(options...)
	defer consumer.Close() // leaves
	limit, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	records := []record{}
	for len(records) < count {
		fetches := consumer.PollFetches(limit)
		check(fetches.Err(), "franz-go: poll as a member of "+group)
		for _, m := range fetches.Records() {
			r := record{partition: int(m.Partition), key: m.Key, value: m.Value, time: m.Timestamp}
			for _, h := range m.Headers {
				r.headers = append(r.headers, header{h.Key, h.Value})
			}
			records = append(records, r)
		}
	}
	check(consumer.CommitUncommittedOffsets(limit), "franz-go: commit")
	return records
}

func (c *franz) offsetAt(topic string, partition int, t time.Time) int64 {
	listed, err := c.admin.ListOffsetsAfterMilli(context.Background(), t.UnixMilli(), topic)
	check(err, "franz-go: list offsets")
	found, _ := listed.Lookup(topic, int32(partition))
	check(found.Err, "franz-go: offset")
	// kadm answers the end of the log where the broker says "none"; the timestamp tells.
	if found.Timestamp == -1 {
		return -1
	}
	return found.Offset
}

func (c *franz) bounds(topic string, partition int) (int64, int64) {
	starts, err := c.admin.ListStartOffsets(context.Background(), topic)
	check(err, "franz-go: start offsets")
	ends, err := c.admin.ListEndOffsets(context.Background(), topic)
	check(err, "franz-go: end offsets")
	start, _ := starts.Lookup(topic, int32(partition))
	end, _ := ends.Lookup(topic, int32(partition))
	return start.Offset, end.Offset
}
