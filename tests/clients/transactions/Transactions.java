// SPDX-License-Identifier: Apache-2.0
//
// The Java client's transactions: with what the broker says of transaction.version it speaks
// version 2 (KIP-890), where partitions are added by Produce and every end raises the epoch.
//
//   Transactions BOOTSTRAP PREFIX run|copied
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.FinalizedVersionRange;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.InvalidRegularExpression;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Transactions {
    private static final int PARTITION_COUNT = 4;
    private static final int COPY_COUNT = 500;
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final String bootstrap;
    private final String prefix;
    private final Admin admin;

    private Transactions(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private static void expect(boolean holds, String what, Object seen) {
        if (!holds) {
            System.out.println("FAILED " + what + ": " + seen);
            Runtime.getRuntime().halt(1);
        }
    }

    private void create(String topic) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, PARTITION_COUNT, (short) 1))).all().get();
    }

    private KafkaProducer<String, String> producer(String id) {
        return new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "transactional.id",
            prefix + id, "linger.ms", "0"), new StringSerializer(), new StringSerializer());
    }

    private static void send(KafkaProducer<String, String> producer, String topic, String value) {
        for (int partition = 0; partition < PARTITION_COUNT; partition++) {
            producer.send(new ProducerRecord<>(topic, partition, null, value + "-" + partition));
        }
    }

    private static List<TopicPartition> partitions(String topic) {
        return IntStream.range(0, PARTITION_COUNT)
            .mapToObj(index -> new TopicPartition(topic, index)).toList();
    }

    /** Everything up to the end that this isolation sees, values in order. */
    /** Up to the end of all that was written: a commit is answered before its markers are there, so
     *  what a reader of committed records is told of the end may lie before them. */
    private List<String> read(String topic, String isolation) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "isolation.level",
            isolation);
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config,
                new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> all = partitions(topic);
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, ListOffsetsResultInfo> ends = admin.listOffsets(all.stream()
                .collect(Collectors.toMap(one -> one, one -> OffsetSpec.latest()))).all().get();
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (all.stream().anyMatch(one -> consumer.position(one) < ends.get(one).offset())) {
                expect(System.nanoTime() < deadline, "end of " + topic, values);
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    values.add(record.value());
                }
            }
        }
        return values.stream().sorted().toList();
    }

    private static List<String> values(Set<Integer> numbers) {
        return numbers.stream().flatMap(number -> IntStream.range(0, PARTITION_COUNT)
            .mapToObj(index -> String.format("%03d-%d", number, index))).sorted().toList();
    }

    private void versionIsTwo() throws Exception {
        FinalizedVersionRange range = admin.describeFeatures().featureMetadata().get()
            .finalizedFeatures().get("transaction.version");
        expect(range != null && range.maxVersionLevel() == 2, "transaction.version", range);
    }

    private void commitAndAbort() throws Exception {
        String topic = prefix + "mixed";
        create(topic);
        Set<Integer> committed = new TreeSet<>();
        try (KafkaProducer<String, String> producer = producer("mixed")) {
            producer.initTransactions();
            for (int i = 0; i < 60; i++) {
                producer.beginTransaction();
                send(producer, topic, String.format("%03d", i));
                if (i % 3 == 1) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                    committed.add(i);
                }
            }
            producer.beginTransaction();
            producer.commitTransaction(); // nothing in it
            producer.beginTransaction();
            producer.abortTransaction();
        }
        List<String> seen = read(topic, "read_committed");
        expect(seen.equals(values(committed)), "read_committed", seen);
        List<String> all = read(topic, "read_uncommitted");
        expect(all.size() == 60 * PARTITION_COUNT, "read_uncommitted", all.size());
        System.out.println("ok 60 transactions, every third aborted");
    }

    private TransactionDescription describe(String id) throws Exception {
        return admin.describeTransactions(List.of(prefix + id)).description(prefix + id).get();
    }

    private Set<String> matching(String pattern) throws Exception {
        return admin.listTransactions(new ListTransactionsOptions()
            .filterOnTransactionalIdPattern(pattern)).all().get().stream()
            .map(listing -> listing.transactionalId()).collect(Collectors.toSet());
    }

    private void describeAndList() throws Exception {
        String topic = prefix + "described";
        create(topic);
        try (KafkaProducer<String, String> producer = producer("described")) {
            producer.initTransactions();
            expect(describe("described").state() == TransactionState.EMPTY, "state", "not Empty");
            producer.beginTransaction();
            send(producer, topic, "000");
            producer.flush();
            TransactionDescription open = describe("described");
            expect(open.state() == TransactionState.ONGOING
                   && open.topicPartitions().equals(Set.copyOf(partitions(topic)))
                   && open.transactionStartTimeMs().isPresent(), "open", open);
            ProducerState state = admin.describeProducers(List.of(new TopicPartition(topic, 0)))
                .partitionResult(new TopicPartition(topic, 0)).get().activeProducers().get(0);
            expect(state.producerId() == open.producerId()
                   && state.currentTransactionStartOffset().getAsLong() == 0, "producer", state);
            Set<String> listed = admin.listTransactions(new ListTransactionsOptions()
                .filterStates(Set.of(TransactionState.ONGOING))).all().get().stream()
                .map(listing -> listing.transactionalId()).collect(Collectors.toSet());
            expect(listed.equals(Set.of(prefix + "described")), "listed", listed);
            expect(matching(prefix + "desc.*").equals(listed) && matching("desc.*").isEmpty(),
                   "listed by a pattern of the whole id", matching(".*"));
            try {
                matching("(");
                expect(false, "a pattern that is none", "was taken");
            } catch (ExecutionException problem) {
                expect(problem.getCause() instanceof InvalidRegularExpression, "pattern", problem);
            }
            producer.commitTransaction();
        }
        try {
            describe("never");
            expect(false, "an id that was never seen", "is described");
        } catch (ExecutionException problem) {
            expect(problem.getCause() instanceof TransactionalIdNotFoundException, "never", problem);
        }
        System.out.println("ok describe and list");
    }

    private void fencing() throws Exception {
        String topic = prefix + "fenced";
        create(topic);
        try (KafkaProducer<String, String> first = producer("fenced");
             KafkaProducer<String, String> second = producer("fenced")) {
            first.initTransactions();
            first.beginTransaction();
            send(first, topic, "001");
            first.flush();
            second.initTransactions(); // aborts what the first had begun
            second.beginTransaction();
            send(second, topic, "002");
            second.commitTransaction();
            try {
                first.commitTransaction();
                expect(false, "commit of the first", "went through");
            } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
                expect(true, "fenced", fenced);
            } catch (KafkaException other) {
                expect(other.getCause() instanceof ProducerFencedException
                       || other.getCause() instanceof InvalidProducerEpochException, "fenced", other);
            }
        }
        List<String> seen = read(topic, "read_committed");
        expect(seen.equals(values(Set.of(2))), "after the fence", seen);
        System.out.println("ok fencing");
    }

    /** Admin.abortTransaction writes a marker where a transaction hangs. */
    private void hanging() throws Exception {
        String topic = prefix + "hanging";
        create(topic);
        TopicPartition one = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = producer("hanging")) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "lost")).get();
            ProducerState state = admin.describeProducers(List.of(one)).partitionResult(one).get()
                .activeProducers().get(0);
            admin.abortTransaction(new AbortTransactionSpec(one, state.producerId(),
                (short) state.producerEpoch(), state.coordinatorEpoch().orElse(0))).all().get();
            List<String> seen = read(topic, "read_committed");
            expect(seen.isEmpty(), "aborted by hand", seen);
            producer.abortTransaction();
        }
        System.out.println("ok a transaction aborted by hand");
    }

    /** What TransactionalMessageCopier, a program of its own, finds and leaves. */
    private void copySource() throws Exception {
        create(prefix + "source");
        create(prefix + "target");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(
                Map.of("bootstrap.servers", bootstrap), new StringSerializer(),
                new StringSerializer())) {
            copied().forEach(value -> producer.send(
                new ProducerRecord<>(prefix + "source", 0, null, value)));
        }
    }

    private static List<String> copied() {
        return IntStream.range(0, COPY_COUNT).mapToObj(i -> String.format("%06d", i)).toList();
    }

    private void copyTarget() throws Exception {
        List<String> seen = read(prefix + "target", "read_committed");
        expect(seen.equals(copied()), "copied exactly once", seen.size() + " records");
        System.out.println("ok TransactionalMessageCopier, each record once");
    }

    public static void main(String[] arguments) throws Exception {
        Transactions test = new Transactions(arguments[0], arguments[1]);
        if (arguments[2].equals("copied")) {
            test.copyTarget();
        } else {
            test.versionIsTwo();
            test.commitAndAbort();
            test.describeAndList();
            test.fencing();
            test.hanging();
            test.copySource();
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
