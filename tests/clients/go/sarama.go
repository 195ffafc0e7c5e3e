// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 0
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.MaxMessageBytes = 8 << 20
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	return config
}

func newSarama() client {
	api, err := sarama.NewClient([]string{bootstrap}, saramaConfig())
	check(err, "sarama: connect")
	admin, err := sarama.NewClusterAdminFromClient(api)
	check(err, "sarama: admin")
	return &saramaClient{api, admin}
}

func (c *saramaClient) name() string { return "sarama" }

func (c *saramaClient) create(topic string, partitions int, config map[string]string) error {
	entries := map[string]*string{}
	for name, value := range config {
		entries[name] = &value
	}
	return c.admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions),
		ReplicationFactor: 1, ConfigEntries: entries}, false)
}

func (c *saramaClient) remove(topic string) error { return c.admin.DeleteTopic(topic) }

func (c *saramaClient) partitions(topic string) int {
	topics, err := c.admin.ListTopics()
	check(err, "sarama: list topics")
	return int(topics[topic].NumPartitions)
}

func (c *saramaClient) config(topic, name string) string {
	entries, err := c.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource,
		Name: topic, ConfigNames: []string{name}})
	check(err, "sarama: describe config")
	for _, entry := range entries {
		if entry.Name == name {
			return entry.Value
		}
	}
	return ""
}

var saramaCodecs = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone,
	"gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}

func (c *saramaClient) write(topic, codec string, acks int, idempotent bool,
	records []record) ([]int64, error) {
	config := saramaConfig()
	config.Producer.RequiredAcks = sarama.RequiredAcks(acks)
	config.Producer.Compression = saramaCodecs[codec]
	config.Producer.Idempotent = idempotent
	config.Net.MaxOpenRequests = 1 // the order of retries, and what idempotence asks for here
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	check(err, "sarama: producer")
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(records))
	for i, r := range records {
		m := &sarama.ProducerMessage{Topic: topic, Partition: int32(r.partition), Timestamp: r.time}
		if r.key != nil {
			m.Key = sarama.ByteEncoder(r.key)
		}
		if r.value != nil {
			m.Value = sarama.ByteEncoder(r.value)
		}
		for _, h := range r.headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.name), Value: h.value})
		}
		messages[i] = m
	}
	if err := producer.SendMessages(messages); err != nil {
		return nil, err.(sarama.ProducerErrors)[0].Err
	}
	offsets := make([]int64, len(messages))
	for i, m := range messages {
		offsets[i] = m.Offset
	}
	return offsets, nil
}

func (c *saramaClient) read(topic string, partition int, offset int64, count int) []record {
	consumer, err := sarama.NewConsumerFromClient(c.client)
	check(err, "sarama: consumer")
	check(c.client.RefreshMetadata(topic), "sarama: metadata")
	part, err := consumer.ConsumePartition(topic, int32(partition), offset)
	check(err, "sarama: consume")
	defer part.Close()
	records := []record{}
	limit := time.After(waitTime)
	for i := 0; i < count; i++ {
		select {
		case m := <-part.Messages():
			if m.Offset != offset+int64(i) {
				fail("sarama: offset %d, expected %d", m.Offset, offset+int64(i))
			}
			r := record{partition: partition, key: m.Key, value: m.Value, time: m.Timestamp}
			for _, h := range m.Headers {
				r.headers = append(r.headers, header{string(h.Key), h.Value})
			}
			records = append(records, r)
		case <-limit:
			fail("sarama: %d records of %d arrived", i, count)
		}
	}
	return records
}

// member hands what it reads to a channel until it has enough.
type member struct {
	messages chan *sarama.ConsumerMessage
	enough   context.Context
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession,
	claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			session.MarkMessage(message, "")
			m.messages <- message
		case <-m.enough.Done():
			session.Commit()
			return nil
		}
	}
}

func (c *saramaClient) consume(topic, group string, count int) []record {
	config := saramaConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Metadata.Retry.Max = 3
	consumer, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	check(err, "sarama: group")
	enough, finish := context.WithCancel(context.Background())
	m := &member{make(chan *sarama.ConsumerMessage, count), enough}
	done := make(chan error)
	go func() {
		var err error
		for err == nil && enough.Err() == nil {
			err = consumer.Consume(enough, []string{topic}, m)
		}
		done <- err
	}()
	records := []record{}
	limit := time.After(waitTime)
	for len(records) < count {
		select {
		case got := <-m.messages:
			r := record{partition: int(got.Partition), key: got.Key, value: got.Value,
				time: got.Timestamp}
			for _, h := range got.Headers {
				r.headers = append(r.headers, header{string(h.Key), h.Value})
			}
			records = append(records, r)
		case <-limit:
			fail("sarama: %d records of %d arrived in the group", len(records), count)
		}
	}
	finish()
	check(<-done, "sarama: consume")
	check(consumer.Close(), "sarama: leave "+group)
	return records
}

func (c *saramaClient) offset(topic string, partition int, time int64) int64 {
	check(c.client.RefreshMetadata(topic), "sarama: metadata")
	offset, err := c.client.GetOffset(topic, int32(partition), time)
	check(err, "sarama: get offset")
	return offset
}

func (c *saramaClient) offsetAt(topic string, partition int, t time.Time) int64 {
	return c.offset(topic, partition, t.UnixMilli())
}

func (c *saramaClient) bounds(topic string, partition int) (int64, int64) {
	return c.offset(topic, partition, sarama.OffsetOldest),
		c.offset(topic, partition, sarama.OffsetNewest)
}
