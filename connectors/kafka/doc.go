// Package kafka reads events and the consent ledger from Kafka, and writes
// what has to be written there.
//
// A Cluster is made once from Options; everything else comes from it. Group
// tells which partitions are this process's, Events reads them, Ledger follows
// the whole ledger topic into a view and answers barriers, Producer writes, Logs
// tells an operator what there is.
//
//	cluster, err := kafka.New(kafka.Options{Brokers: []string{"broker:9092"}})
//	group, err := cluster.Group(topics, kafka.GroupOptions{ID: "lupa-marketing"})
//	mine, err := group.Next(ctx)
//	events, err := cluster.EventsOf(topics, mine.Partitions)
//	err = events.Open(ctx, positions)
//	chunk, err := events.Next(ctx) // until mine.Ended()
//	mine.Release()
//
// Version negotiation and routing are kafka-go's Transport. A fetch request goes through Transport.RoundTrip as well, but its
// answer is read as one frame and taken apart here, because the client
// library's own decoder hides where a batch ends, can be made to panic or to
// allocate without bound by what is inside a batch, and hands over records of
// aborted transactions.
//
// # Security
//
// Every connection is made by one function, which gives the client library one
// that is encrypted and authenticated already, or none. What the options ask
// for cannot be missing from one of them.
//
//   - TLS is 1.2 or newer. The broker's certificate must be signed by an
//     authority of CAFile, or of the system without it, and be for ServerName,
//     or without it for the host of the address that is dialled, which for all
//     but the first brokers is the one that the cluster advertises.
//   - CertFile and KeyFile are read for each connection, so that a renewed
//     certificate is used without a restart; CAFile is read once. A key that
//     group or others may read is refused, at the start and later.
//   - PLAIN and OAUTHBEARER give the secret to the broker, so they need TLS.
//     PlaintextOnLoopback lifts that for brokers named localhost or by a
//     loopback address, and no such secret is sent to any other address, whatever
//     the cluster advertises. SCRAM keeps the password to itself and may go
//     without TLS; who listens can then still try passwords out.
//   - Password and Token are asked for each authentication. Where the broker
//     bounds how long one stands, it is renewed on the same connection after
//     80 % of that time (KIP-368). Where it does not, a connection is replaced
//     after 80 % of what its token had left.
//
// An error of this kind names the broker, its class and a cause in words of
// this package; what a broker says about it is not repeated. tls_failed and
// authentication_failed are logged as errors, once for each broker and cause.
// Both are tried again: a start gives up after StartTimeout, a source, a ledger
// or a group that runs waits until the certificate, the secret or the token is
// right again. No secret is in an error, in a log or in what these types print.
//
// # Guarantees
//
//   - Only records of committed transactions are handed over; aborted records
//     and transaction markers never are, yet the position passes them.
//   - A batch counts only when its CRC-32C is right and it decodes completely.
//     Its decompressed size is bounded, whatever the codec. A damaged batch is
//     fetched a few times more and then ends the run; it is never skipped.
//   - On a topic that is not compacted every offset must be accounted for. A
//     gap ends the run with an error that names it.
//   - A position that the partition no longer has, or does not have yet, or
//     whose anchor does not match, is an error. It is never reset. An anchor
//     names the cluster and the batch before the position. It is looked at
//     again while reading goes on, after trouble and every few seconds, before
//     more is handed over: so a topic that is made anew is found out.
//   - Records that killed three processes are refused, where a Breaker is used.
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
// Positions are kept by the caller; nothing is committed to Kafka. A group only
// says who should work: a member that was stopped and wakes up may go on for one
// heartbeat with partitions that are another's by then, so a sink must refuse
// what it commits. What is not under a checksum in Kafka's protocol, the list of
// aborted transactions above all, is as sound as the connection: TLS makes it
// so. Errors and logs name topic, partition and offset, never a
// key or a value. Brokers must be Apache Kafka 2.1 or newer, or speak its
// Fetch v9.
//
// # A ledger that forgets
//
// A ledger is read from its beginning at each start, so what its topic has
// deleted by then was never said. Where records go by age or size
// (cleanup.policy delete with a limit), that is not safe, though a partition
// loses its oldest records first. As long as the records of one key are written
// to one partition in the order of their versions, a grant goes before the
// withdrawal that follows it, and without either there is no consent. But an
// old grant that is written again, late or in an export, outlives the
// withdrawal that has the higher version. A withdrawal for every purpose, an
// erasure and a link have keys of their own, hence partitions of their own,
// which lose their records at other times: sooner than the grant for one
// purpose that they take back. And a link may go before the withdrawal that it
// carries from one identifier to another, in whatever order they are deleted.
// So such a topic can keep what was withdrawn in force. It also makes a process
// that was started again decide otherwise than one that runs on.
//
// It is read all the same, for there may be no other, but Start warns of it, and
// Describe tells. With cleanup.policy compact the last record of each key stays,
// which is the one that counts where versions rise. A topic whose records are
// never deleted keeps the history as well.
package kafka
