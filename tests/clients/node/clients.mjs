// SPDX-License-Identifier: Apache-2.0
//
// The scenario list of tests/clients/README.md with two Node clients. kafkajs consumes only in
// groups, so what both write is read by the fetch of @platformatic/kafka, and once more by kcat;
// its groups have a scenario of their own.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import process from 'node:process'

// Found in the folder of the installation, not beside this file.
const require = createRequire(`${process.env.CLIENTS_MODULES}/package.json`)
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const { Admin, Consumer, Producer } =
  await import(require.resolve('@platformatic/kafka'))
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const bootstrap = process.env.BOOTSTRAP
const recordCount = 600
const timeStepMs = 10
const waitMs = 20000
const firstMs = Math.floor(Date.now() / 1000) * 1000 - 86400000 // retention must not take it

function expect (holds, ...what) {
  if (!holds) {
    console.log('FAILED', ...what)
    process.exit(1)
  }
}

function topicName (name) {
  return `${process.env.TOPIC_PREFIX ?? 'node-'}${name}`
}

// Keys and values as strings; null is null. Header names are unique: both clients keep a map.
function makeRecords (count) {
  return Array.from({ length: count }, (_, i) => ({
    key: i % 7 === 0 ? null : `key-${i % 50}`,
    value: i % 11 === 5 && i % 7 !== 0 ? null : `${i} `.repeat((i * 7) % 131),
    headers: Object.fromEntries(['a', 'b', 'c'].slice(0, i % 4).map(name => [name, `${name}${i}`])),
    time: firstMs + i * timeStepMs
  }))
}

async function until (what, condition) {
  const deadline = Date.now() + waitMs
  while (!(await condition())) {
    expect(Date.now() < deadline, what)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const reader = new Consumer({ groupId: 'unused', clientId: 'reader', bootstrapBrokers: [bootstrap],
  retries: 3, timeout: waitMs })

async function fetchFrom (topic, partition, offset) {
  const metadata = await reader.metadata({ topics: [topic] })
  const known = metadata.topics.get(topic)
  const answer = await reader.fetch({ node: known.partitions[partition].leader, minBytes: 1,
    maxBytes: 1 << 24, maxWaitTime: 1000, topics: [{ topicId: known.id, partitions: [{ partition,
      currentLeaderEpoch: -1, fetchOffset: BigInt(offset), lastFetchedEpoch: -1,
      partitionMaxBytes: 1 << 24 }] }] })
  const text = bytes => bytes === null ? null : bytes.toString()
  return (answer.responses[0].partitions[0].records ?? []).flatMap(batch => batch.records.map(r => ({
    offset: Number(batch.firstOffset) + r.offsetDelta,
    record: { key: text(r.key), value: text(r.value), time: Number(batch.firstTimestamp +
      r.timestampDelta), headers: Object.fromEntries(r.headers.map(pair => pair.map(String))) }
  })))
}

async function checkRead (topic, partition, start, expected) {
  let next = start
  while (next < start + expected.length) {
    for (const { offset, record } of await fetchFrom(topic, partition, next)) {
      // The batch that holds the offset is answered whole.
      if (offset < next || offset >= start + expected.length) continue
      expect(offset === next, `${topic}: offset ${offset}, expected ${next}`)
      const due = expected[offset - start]
      expect(JSON.stringify([record.key, record.value, record.time, record.headers]) ===
        JSON.stringify([due.key, due.value, due.time, due.headers]),
      `${topic}: record ${offset}:`, record, 'expected', due)
      next++
    }
  }
}

async function served (topic, count) {
  await until(`${topic} is created, but not served`, async () => {
    try {
      const found = await reader.listOffsets({ topics: [topic] })
      return found.get(topic).length === count
    } catch {
      reader.clearMetadata()
      return false
    }
  })
}

// kcat prints an empty value as it does null.
function checkKcat (topic, records) {
  const text = execFileSync('kcat', ['-q', '-b', bootstrap, '-C', '-t', topic, '-p', '0', '-o',
    'beginning', '-e', '-Z', '-f', '%o:%k=%s\n'], { maxBuffer: 1 << 28 }).toString()
  const due = records.map((r, i) => `${i}:${r.key || 'NULL'}=${r.value || 'NULL'}\n`).join('')
  expect(text === due, `${topic}: kcat reads other records`)
}

async function kafkaJs () {
  const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const records = makeRecords(recordCount)
  const messages = (part, partition) => part.map(r => ({ key: r.key, value: r.value, partition,
    headers: r.headers, timestamp: String(r.time) }))

  for (const [name, codec, acks, idempotent] of [
    ['none', CompressionTypes.None, -1, false], ['gzip', CompressionTypes.GZIP, -1, false],
    ['snappy', CompressionTypes.Snappy, -1, false], ['acks-1', CompressionTypes.None, 1, false],
    ['acks-0', CompressionTypes.None, 0, false], ['idempotent', CompressionTypes.GZIP, -1, true]]) {
    const topic = topicName(`kafkajs-${name}`)
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] }), 'create', topic)
    await served(topic, 2)
    const producer = kafka.producer({ idempotent, maxInFlightRequests: 1 })
    await producer.connect()
    for (let at = 0; at < recordCount; at += 200) {
      const [report] = await producer.send({ topic, acks, compression: codec,
        messages: messages(records.slice(at, at + 200), 0) }) ?? []
      expect(acks === 0 || Number(report.baseOffset) === at, `${topic}: base offset`, report)
    }
    await producer.disconnect()
    await checkRead(topic, 0, 0, records)
    if (name !== 'snappy') checkKcat(topic, records)
    console.log('ok kafkajs', name)
  }

  const topic = topicName('kafkajs-none')
  const ends = await admin.fetchTopicOffsets(topic)
  expect(ends.find(p => p.partition === 0).high === String(recordCount), 'high watermark', ends)
  for (const [time, due] of [[1, 0], [firstMs + 1, 1], [firstMs + 300 * timeStepMs, 300]]) {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, time)
    expect(found.find(p => p.partition === 0).offset === String(due), `time ${time}:`, found)
  }
  expect(!(await admin.createTopics({ topics: [{ topic }] })), 'created twice')
  expect((await admin.listTopics()).includes(topic), 'list')
  const described = await admin.describeConfigs({ includeSynonyms: false,
    resources: [{ type: 2, name: topic, configNames: ['max.message.bytes'] }] })
  expect(described.resources[0].configEntries[0].configValue === '1048588', 'configs')
  const producer = kafka.producer({ retry: { retries: 0 } })
  await producer.connect()
  const refusal = await producer.send({ topic, messages: [{ value: 'x'.repeat(1050000),
    partition: 0 }] }).then(() => null, error => error)
  expect(refusal?.type === 'MESSAGE_TOO_LARGE', 'a record above the limit:', refusal)
  await producer.disconnect()
  await admin.deleteTopics({ topics: [topic] })
  await until('the deleted topic is listed', async () => !(await admin.listTopics()).includes(topic))
  await admin.disconnect()
  console.log('ok kafkajs admin')
}

// Two members share the topic, and what they committed is where the next one begins.
async function kafkaJsGroup () {
  const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const topic = topicName('kafkajs-group')
  const groupId = topicName('kafkajs-members')
  await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] })
  await served(topic, 4)
  const producer = kafka.producer()
  await producer.connect()
  const send = (first, count) => producer.send({ topic, messages: Array.from({ length: count },
    (_, i) => ({ value: `${first + i}`, partition: i % 4 })) })
  const member = async seen => {
    const consumer = kafka.consumer({ groupId, heartbeatInterval: 200 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => { seen.push(`${message.value}`) } })
    return consumer
  }
  const sorted = values => [...new Set(values)].sort((a, b) => a - b).join()
  const due = (first, count) => Array.from({ length: count }, (_, i) => first + i).join()

  await send(0, 100)
  const seen = []
  const members = await Promise.all([member(seen), member(seen)])
  await until('two members do not read 100 records', () => sorted(seen) === due(0, 100))
  await until('two members do not share', async () => {
    const { groups: [group] } = await admin.describeGroups([groupId])
    return group.state === 'Stable' && group.members.length === 2
  })
  for (const consumer of members) await consumer.disconnect()
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  expect(partitions.every(p => p.offset === '25'), 'committed offsets', partitions)

  await send(100, 8)
  const later = []
  const last = await member(later)
  await until('the next member does not read on', () => sorted(later) === due(100, 8))
  expect(later.length === 8, 'read again:', later)
  await last.disconnect()
  expect((await admin.listGroups()).groups.some(g => g.groupId === groupId), 'list of groups')
  await admin.deleteGroups([groupId])
  expect(!(await admin.listGroups()).groups.some(g => g.groupId === groupId), 'deleted group')
  await producer.disconnect()
  await admin.disconnect()
  console.log('ok kafkajs group')
}

async function platformatic () {
  const options = { clientId: 'platformatic', bootstrapBrokers: [bootstrap], retries: 3,
    timeout: waitMs }
  const admin = new Admin(options)
  const records = makeRecords(recordCount)
  const topic = name => topicName(`platformatic-${name}`)

  // zstd wants a newer Node than 20.
  for (const [name, compression, idempotent] of [['none', 'none', false], ['gzip', 'gzip', false],
    ['snappy', 'snappy', false], ['lz4', 'lz4', false], ['idempotent', 'lz4', true]]) {
    await admin.createTopics({ topics: [topic(name)], partitions: 3, replicas: 1 })
    await served(topic(name), 3)
    const producer = new Producer({ ...options, idempotent })
    for (let at = 0; at < recordCount; at += 200) {
      const report = await producer.send({ acks: -1, compression, idempotent,
        messages: records.slice(at, at + 200).map(r => ({ topic: topic(name), partition: 1,
          key: r.key === null ? undefined : Buffer.from(r.key), value: r.value === null ? null : Buffer.from(r.value),
          timestamp: BigInt(r.time), headers: new Map(Object.entries(r.headers)
            .map(pair => pair.map(text => Buffer.from(text)))) })) })
      expect(Number(report.offsets[0].offset) === at, `${topic(name)}: base offset`, report)
    }
    await producer.close()
    await checkRead(topic(name), 1, 0, records)
    await checkRead(topic(name), 1, 333, records.slice(333, 340))
    console.log('ok platformatic', name)
  }

  const ends = await reader.listOffsets({ topics: [topic('none')] })
  expect(ends.get(topic('none'))[1] === BigInt(recordCount), 'end offset', ends)
  const found = await reader.listOffsets({ topics: [topic('none')],
    timestamp: BigInt(firstMs + 300 * timeStepMs) })
  expect(found.get(topic('none'))[1] === 300n, 'offset for a time', found)
  expect((await admin.listTopics()).includes(topic('none')), 'list')
  await admin.deleteTopics({ topics: [topic('none')] })
  await until('the deleted topic is listed',
    async () => !(await admin.listTopics()).includes(topic('none')))
  await admin.close()
  console.log('ok platformatic admin')
}

await kafkaJs()
await kafkaJsGroup()
await platformatic()
await reader.close(true)
process.exit(0)
