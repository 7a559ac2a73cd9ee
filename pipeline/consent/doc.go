// Package consent decides what may be kept. It holds the ledger as a View,
// has one pure function, Decide, that says what a subject's records permit,
// and a Stage that joins batches of events with the view.
//
// The common case: NewView once, View.Apply for every batch that the ledger
// reader fetched, one Stage a worker, and before a commit a Recheck of what the
// stages held. All of them work at once.
//
// # Records
//
// The view knows identifiers as tokens of the ledger's own domain and nothing
// else. A key is one identifier and one scope: a purpose, every purpose, a group
// of purposes, its guardian's records for a purpose or for all of them, its
// restriction, its birth, or a duty to retain certain fields. The rules by which
// records make up a timeline:
//
//   - The version orders the records of a key. A lower one that comes late
//     changes nothing that a higher one says, but it is history: it tells what
//     was in force when an event happened.
//   - Two records of one version that differ: the more restrictive one stands
//     alone, and a tie is counted. It is the one with the greater reason. Of two
//     with the same reason what is stricter in each stands: of grants the later
//     beginning and the sooner end, of others the earlier, of births the younger;
//     where they name different regions none is allowed, and where they name
//     different countries none is known.
//   - A tombstone empties its key. Versions up to the highest that the key had
//     never come back.
//   - A value that cannot be read denies its key until a record with a higher
//     version than the key had comes: an erasure every purpose of its
//     identifier, and so do a restriction or what lifts it, a birth, a duty and
//     what a guardian says; a link or an unlink both its ends.
//   - A withdrawal or an objection under a purpose that is not known here takes
//     back something, and nobody can say what: it is one for every purpose, and
//     so is a value under such a purpose that cannot be read. Grants and
//     refusals under it say nothing, for nothing is in force under that name.
//   - An erasure is about the identifier, whichever key it came under. No
//     version, tombstone or later record undoes it. A tombstone does not lift a
//     restriction either, nor does it make anybody older.
//   - Of what a record says besides, its terms, each combination is kept once, and
//     their number is bounded. When there are too many, of new ones only regions,
//     fields, basis and country are kept; a record that would say more without
//     its terms is undecodable when there is no room for those.
//   - A message of which nobody can say whom it concerns is an error, and the
//     reader stops. A marker is about nobody and says nothing.
//
// The same records in any order of delivery make the same decisions; only
// tombstones and values that cannot be read depend on what came before them.
//
// # Every purpose
//
// Records for every purpose, and those for a group of them, can only take away, and their versions say nothing
// about those of another key. So time joins the two, and each of them counts,
// whatever its version: a grant for one purpose holds against those that are
// older than it; one of the same time or later outweighs it. Against anything
// but a grant the greater reason wins. A tombstone of that key leaves the
// grants void that its records had outweighed: deleting a withdrawal is not
// consent. A grant for every purpose is no grant (GDPR Art 6(1)(a)) and counts
// as an undecodable record of that key.
//
// # Time
//
// A decision depends on two clocks: the event's, and that of the moment in which
// it is made. What was said is in force now whatever its time; validities, duties
// and ages are measured by a clock that never goes back. So a decision may change
// by itself, and says when it may: Recheck decides all rows again once the first
// of those moments has come.
//
// # Links
//
// A link makes two identifiers one subject, links add up, and an unlink takes one
// back. The highest version of a pair says which; a link and an unlink of one
// version count as a link and deny both ends until a higher one comes. Rows are
// decided over all identifiers of all subjects that a row names.
//
// An identifier is several people's when a current link says so of it, or its kind
// is one of Options.SharedKinds. Nothing passes through it from one to another. In
// a row that names somebody else too, even a stranger, it only takes away, and it
// erases nobody. Of a row that names nobody else its own records decide, and the
// people whom it is linked with take away, but erase nothing; when they are more
// than Options.MaxLinked the row is denied as without a record.
//
// A subject of more than Options.MaxLinked identifiers is the mark of a shared or
// broken one that nobody told of: its rows are denied as without a record, and
// counted. Of its erasures only those of the identifiers that a row names erase
// it. An unlink may make it small enough again.
//
// Events tell of links too: Stage.Learn has those of a contract's links made a part
// of the ledger before the rows that tell of them are decided.
//
// # Until the commit
//
// What was decided may be out of date before it is committed. So a stage holds
// the rows that it kept or masked, and the view keeps a journal of the identifiers
// that changed. Held.Recheck decides those rows again that name one of them, or
// somebody whose rows one of them decides, just as they were decided at first. After it
// a row stands only if it would be kept now, and a masked one only if nobody that
// it names is erased. When the journal does not reach back to the first decision,
// every row is decided again.
//
// # Late changes
//
// What the ledger says after rows were committed may take them away. With
// Options.Reviewed, the position W up to which the tables were looked through for
// that, the view keeps the identifiers whose rows have to be looked through
// again. Those are the ones of which a message at or behind W
//
//   - denies anything, be a grant known or not: rows may name them beside somebody
//     who has one;
//   - is a grant that may permit less than what they, or whom they are linked with,
//     had granted before. A first grant asks for nothing: it takes nothing back;
//   - is a duty to retain, which may cut another one short;
//   - makes or unmakes a link, if anything was said of either end or the link
//     itself denies;
//   - comes after others that are gone, or is read when a reader of a compacted
//     topic starts, because rows may have been written under what is gone.
//
// There is one item an identifier, of 50 to 85 bytes. The queue is a function of the
// ledger and W alone: who reads the ledger again has the same queue again; only a
// snapshot, which stands for a part of the ledger that is not read again, has it
// too, and the position from which on it was kept, View.LateSince.
//
// # Memory and snapshots
//
// What is known of an identifier are some bytes under its token on a shelf: with
// three usual records some 52 of memory, all in. View.Freeze keeps the view as it is
// at one moment, and Snapshot.Write writes that while stages and the ledger go on;
// LoadSnapshot makes a view of it, or of nothing of it. Both formats are described
// in FORMAT.md.
package consent
