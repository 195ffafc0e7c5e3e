// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct{ api *kafka.Client }

func newKafkaGo() client {
	return &kafkaGo{&kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: waitTime}}
}

func (c *kafkaGo) name() string { return "kafka-go" }

func (c *kafkaGo) create(topic string, partitions int, config map[string]string) error {
	entries := []kafka.ConfigEntry{}
	for name, value := range config {
		entries = append(entries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := c.api.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1,
			ConfigEntries: entries}}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (c *kafkaGo) remove(topic string) error {
	answer, err := c.api.DeleteTopics(context.Background(),
		&kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (c *kafkaGo) partitions(topic string) int {
	answer, err := c.api.Metadata(context.Background(), &kafka.MetadataRequest{})
	check(err, "kafka-go: metadata")
	for _, t := range answer.Topics {
		if t.Name == topic && t.Error == nil {
			return len(t.Partitions)
		}
	}
	return 0
}

func (c *kafkaGo) config(topic, name string) string {
	answer, err := c.api.DescribeConfigs(context.Background(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic,
			ResourceName: topic}}})
	check(err, "kafka-go: describe configs")
	for _, entry := range answer.Resources[0].ConfigEntries {
		if entry.ConfigName == name {
			return entry.ConfigValue
		}
	}
	return ""
}

var kafkaGoCodecs = map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip,
	"snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func (c *kafkaGo) write(topic, codec string, acks int, _ bool, records []record) ([]int64, error) {
	messages := make([]kafka.Message, len(records))
	for i, r := range records {
		headers := []kafka.Header{}
		for _, h := range r.headers {
			headers = append(headers, kafka.Header{Key: h.name, Value: h.value})
		}
		messages[i] = kafka.Message{Partition: r.partition, Key: r.key, Value: r.value,
			Headers: headers, Time: r.time, WriterData: i}
	}
	offsets := make([]int64, len(records))
	var lock sync.Mutex
	writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, BatchBytes: 8 << 20,
		BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequiredAcks(acks), MaxAttempts: 3,
		Compression: kafkaGoCodecs[codec],
		Balancer:    kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.Partition }),
		Completion: func(done []kafka.Message, err error) {
			lock.Lock()
			defer lock.Unlock()
			for _, m := range done {
				offsets[m.WriterData.(int)] = m.Offset
			}
		}}
	err := writer.WriteMessages(context.Background(), messages...)
	if problem := writer.Close(); err == nil {
		err = problem
	}
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		err = several[0]
	}
	return offsets, err
}

func (c *kafkaGo) read(topic string, partition int, offset int64, count int) []record {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic,
		Partition: partition, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	check(reader.SetOffset(offset), "kafka-go: set offset")
	records := []record{}
	limit, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	for i := 0; i < count; i++ {
		m, err := reader.ReadMessage(limit)
		check(err, fmt.Sprintf("kafka-go: read %s [%d] at %d", topic, partition, offset))
		if m.Offset != offset+int64(i) {
			fail("kafka-go: offset %d, expected %d", m.Offset, offset+int64(i))
		}
		r := record{partition: partition, key: m.Key, value: m.Value, time: m.Time}
		for _, h := range m.Headers {
			r.headers = append(r.headers, header{h.Key, h.Value})
		}
		records = append(records, r)
	}
	return records
}

func (c *kafkaGo) consume(topic, group string, count int) []record {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic,
		GroupID: group, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 100 * time.Millisecond,
		StartOffset: kafka.FirstOffset})
	records := []record{}
	limit, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	for len(records) < count {
		m, err := reader.ReadMessage(limit) // and commits
		check(err, "kafka-go: read as a member of "+group)
		r := record{partition: m.Partition, key: m.Key, value: m.Value, time: m.Time}
		for _, h := range m.Headers {
			r.headers = append(r.headers, header{h.Key, h.Value})
		}
		records = append(records, r)
	}
	check(reader.Close(), "kafka-go: leave "+group)
	return records
}

func (c *kafkaGo) offsets(topic string, request kafka.OffsetRequest) kafka.PartitionOffsets {
	answer, err := c.api.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {request}}})
	check(err, "kafka-go: list offsets")
	check(answer.Topics[topic][0].Error, "kafka-go: list offsets of "+topic)
	return answer.Topics[topic][0]
}

func (c *kafkaGo) offsetAt(topic string, partition int, t time.Time) int64 {
	for offset := range c.offsets(topic, kafka.TimeOffsetOf(partition, t)).Offsets {
		return offset
	}
	return -1
}

func (c *kafkaGo) bounds(topic string, partition int) (int64, int64) {
	return c.offsets(topic, kafka.FirstOffsetOf(partition)).FirstOffset,
		c.offsets(topic, kafka.LastOffsetOf(partition)).LastOffset
}
