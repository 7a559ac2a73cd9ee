// Package kafka reads events and the consent ledger from Kafka, and writes
// what has to be written there.
//
// A Cluster is made once from Options; everything else comes from it. Events
// is a worker's share of the event topics, Ledger follows the whole ledger
// topic into a view and answers barriers, Producer writes.
//
//	cluster, err := kafka.New(kafka.Options{Brokers: []string{"broker:9092"}})
//	events, err := cluster.Events([]string{"events"}, worker, workers)
//	err = events.Open(ctx, positions)
//	chunk, err := events.Next(ctx)
//
// Connections, TLS, SASL, version negotiation and routing are kafka-go's
// Transport. A fetch request goes through Transport.RoundTrip as well, but its
// answer is read as one frame and taken apart here, because the client
// library's own decoder hides where a batch ends, can be made to panic or to
// allocate without bound by what is inside a batch, and hands over records of
// aborted transactions.
//
// What it guarantees:
//
//   - Only records of committed transactions are handed over; aborted records
//     and transaction markers never are, yet the position passes them.
//   - A batch counts only when its CRC-32C is right and it decodes completely.
//     Its decompressed size is bounded, whatever the codec. A damaged batch is
//     fetched a few times more and then ends the run; it is never skipped.
//   - On a topic that is not compacted every offset must be accounted for. A
//     gap ends the run with an error that names it.
//   - A position that the partition no longer has, or does not have yet, or
//     whose anchor does not match, is an error. It is never reset.
//   - Ledger.Barrier returns only once the view has applied every record that
//     was acknowledged before the call, in partitions that are new as well. It
//     waits for the high watermarks while only committed records are applied,
//     so an open transaction in the ledger holds it up until it ends. What
//     cannot be asked, read or applied never passes; what it waits for is
//     logged once and told by Ledger.Stats. A ledger topic that is made anew
//     ends it.
//
// What a barrier cannot rule out by asking is a leader that was replaced
// without knowing, although it must know the epoch that another broker tells,
// and a broker that has not heard yet of a partition that is already written
// to. LedgerOptions.MaxStaleness bounds how old what it misses of the former
// can be, and LedgerOptions.Strict rules the former out, where two in-sync
// replicas are required.
//
// Positions are kept by the caller; nothing is committed to Kafka and there is
// no consumer group. Errors and logs name topic, partition and offset, never a
// key or a value. Brokers must be Apache Kafka 2.1 or newer, or speak its
// Fetch v9.
package kafka
