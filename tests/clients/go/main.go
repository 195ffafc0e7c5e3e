// SPDX-License-Identifier: Apache-2.0

// The scenario list of tests/clients/README.md with three Go clients: kafka-go, sarama, franz-go.
package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	recordCount = 1000
	waitTime    = 20 * time.Second
	timeStep    = 10 * time.Millisecond
)

var (
	bootstrap = os.Getenv("BOOTSTRAP")
	codecs    = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	// A day old: retention must not take the records.
	firstTime = time.Now().Add(-24 * time.Hour).Truncate(time.Second)
)

type header struct {
	name  string
	value []byte
}

type record struct {
	partition int
	key       []byte // nil is null
	value     []byte
	headers   []header
	time      time.Time
}

// client is what the scenarios ask of each library.
type client interface {
	name() string
	create(topic string, partitions int, config map[string]string) error
	remove(topic string) error
	partitions(topic string) int // 0 when the topic is unknown; must not create it
	config(topic, name string) string
	// write sends the records in order and returns their offsets, or the error of the first failure.
	write(topic, codec string, acks int, idempotent bool, records []record) ([]int64, error)
	// read returns count records of a partition from an offset on.
	read(topic string, partition int, offset int64, count int) []record
	// consume returns count records as the member of a group, commits what it read, and leaves.
	consume(topic, group string, count int) []record
	offsetAt(topic string, partition int, t time.Time) int64 // -1: none
	bounds(topic string, partition int) (int64, int64)
}

func fail(format string, arguments ...any) {
	fmt.Printf("FAILED "+format+"\n", arguments...)
	os.Exit(1)
}

func check(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func topicName(c client, name string) string {
	return os.Getenv("TOPIC_PREFIX") + c.name() + "-" + name
}

func makeRecords(count, partitions int) []record {
	records := make([]record, count)
	for i := range records {
		r := &records[i]
		r.partition = i % partitions
		r.time = firstTime.Add(time.Duration(i) * timeStep)
		if i%7 != 0 {
			r.key = fmt.Appendf(nil, "key-%d", i%50)
		}
		if i%11 != 5 || i%7 == 0 {
			r.value = []byte(strings.Repeat(fmt.Sprintf("%05d ", i), i*7%131))
		}
		for j := 0; j < i%4; j++ {
			r.headers = append(r.headers, header{[]string{"same", "same", "other"}[j],
				[]byte(strings.Repeat("h", j*100))})
		}
	}
	return records
}

func same(a, b []byte, exact bool) bool {
	return bytes.Equal(a, b) && (!exact || (a == nil) == (b == nil))
}

// compare stops at the first difference. kafka-go hands out nil for an empty value as for null, so
// there only the key's null is told apart.
func compare(c client, got, expected []record) {
	if len(got) != len(expected) {
		fail("%s: %d records, expected %d", c.name(), len(got), len(expected))
	}
	for i := range got {
		g, e := got[i], expected[i]
		if !same(g.key, e.key, true) || !same(g.value, e.value, c.name() != "kafka-go") {
			fail("%s: record %d: %q=%q, expected %q=%q", c.name(), i, g.key, g.value, e.key, e.value)
		}
		if !g.time.Equal(e.time) {
			fail("%s: record %d: time %v, expected %v", c.name(), i, g.time, e.time)
		}
		if len(g.headers) != len(e.headers) {
			fail("%s: record %d: %d headers", c.name(), i, len(g.headers))
		}
		for j := range g.headers {
			if g.headers[j].name != e.headers[j].name ||
				!bytes.Equal(g.headers[j].value, e.headers[j].value) {
				fail("%s: record %d: header %d differs", c.name(), i, j)
			}
		}
	}
}

func created(c client, name string, partitions int, config map[string]string) string {
	topic := topicName(c, name)
	check(c.create(topic, partitions, config), c.name()+": create "+topic)
	waitServed(topic, partitions)
	return topic
}

func roundTrip(c client, name, codec string, acks int, idempotent bool, partitions int) {
	topic := created(c, name, partitions, nil)
	records := makeRecords(recordCount, partitions)
	offsets, err := c.write(topic, codec, acks, idempotent, records)
	check(err, c.name()+": write "+topic)
	next := make([]int64, partitions)
	for i, r := range records {
		if acks != 0 && offsets[i] != next[r.partition] {
			fail("%s: %s record %d was given offset %d, expected %d", c.name(), name, i, offsets[i],
				next[r.partition])
		}
		next[r.partition]++
	}
	for p := 0; p < partitions; p++ {
		var expected []record
		for _, r := range records {
			if r.partition == p {
				expected = append(expected, r)
			}
		}
		compare(c, c.read(topic, p, 0, len(expected)), expected)
	}
	fmt.Println("ok", c.name(), name)
}

func seek(c client) {
	topic := created(c, "seek", 1, nil)
	if c.offsetAt(topic, 0, firstTime) != -1 {
		fail("%s: a time in an empty log", c.name())
	}
	records := makeRecords(recordCount, 1)
	_, err := c.write(topic, "lz4", -1, false, records)
	check(err, c.name()+": write")
	if low, high := c.bounds(topic, 0); low != 0 || high != recordCount {
		fail("%s: bounds %d to %d", c.name(), low, high)
	}
	for _, row := range []struct {
		after    time.Duration
		expected int64
	}{{-time.Hour, 0}, {0, 0}, {1 * time.Millisecond, 1}, {500 * timeStep, 500},
		{500*timeStep - 9*time.Millisecond, 500}, {999 * timeStep, 999},
		{999*timeStep + time.Millisecond, -1}} {
		if got := c.offsetAt(topic, 0, firstTime.Add(row.after)); got != row.expected {
			fail("%s: offset at %v is %d, expected %d", c.name(), row.after, got, row.expected)
		}
	}
	for _, offset := range []int64{1, 499, 990} {
		compare(c, c.read(topic, 0, offset, 10), records[offset:offset+10])
	}
	fmt.Println("ok", c.name(), "seek")
}

func large(c client) {
	topic := created(c, "large", 1, nil)
	big := record{value: bytes.Repeat([]byte("L"), 1048000), time: firstTime}
	over := record{value: bytes.Repeat([]byte("L"), 1050000), time: firstTime}
	_, err := c.write(topic, "none", -1, false, []record{big})
	check(err, c.name()+": a record just below the limit")
	_, err = c.write(topic, "none", -1, false, []record{over})
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "large") {
		fail("%s: a record above the limit: %v", c.name(), err)
	}
	_, err = c.write(topic, "none", -1, false, []record{big})
	check(err, c.name()+": after the refusal")
	compare(c, c.read(topic, 0, 0, 2), []record{big, big})
	fmt.Println("ok", c.name(), "large")
}

// Each round begins where the one before it committed.
func group(c client) {
	topic := created(c, "group", 3, nil)
	for round := 0; round < 2; round++ {
		records := makeRecords(recordCount, 3)
		_, err := c.write(topic, "none", -1, false, records)
		check(err, c.name()+": write "+topic)
		got := c.consume(topic, topicName(c, "members"), recordCount)
		order := func(a, b record) int {
			return 10*(a.partition-b.partition) + a.time.Compare(b.time)
		}
		slices.SortStableFunc(got, order)
		slices.SortStableFunc(records, order)
		compare(c, got, records)
	}
	fmt.Println("ok", c.name(), "group")
}

func admin(c client) {
	topic := created(c, "admin", 5, map[string]string{"retention.ms": "123456789"})
	if got := c.partitions(topic); got != 5 {
		fail("%s: %d partitions", c.name(), got)
	}
	if err := c.create(topic, 5, nil); err == nil {
		fail("%s: the topic was created twice", c.name())
	}
	if err := c.create("bad/name", 1, nil); err == nil {
		fail("%s: a bad name was taken", c.name())
	}
	for name, expected := range map[string]string{"retention.ms": "123456789",
		"max.message.bytes": "1048588", "cleanup.policy": "delete"} {
		if got := c.config(topic, name); got != expected {
			fail("%s: %s is %q, expected %q", c.name(), name, got, expected)
		}
	}
	check(c.remove(topic), c.name()+": delete")
	for began := time.Now(); c.partitions(topic) != 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > waitTime {
			fail("%s: the deleted topic is still there", c.name())
		}
	}
	if err := c.remove(topicName(c, "never")); err == nil {
		fail("%s: a topic was deleted that never was", c.name())
	}
	fmt.Println("ok", c.name(), "admin")
}

func main() {
	clients := []client{newKafkaGo(), newSarama(), newFranz(false)}
	for _, c := range clients {
		for _, codec := range codecs {
			roundTrip(c, "codec-"+codec, codec, -1, false, 3)
		}
		for _, acks := range []int{0, 1} {
			roundTrip(c, fmt.Sprintf("acks-%d", acks), "none", acks, false, 1)
		}
		if c.name() != "kafka-go" { // it has no idempotent producer
			roundTrip(c, "idempotent", "zstd", -1, true, 3)
		}
		roundTrip(c, "many-partitions", "snappy", -1, false, 30)
		seek(c)
		large(c)
		group(c)
		admin(c)
	}
	group(newFranz(true))
}
