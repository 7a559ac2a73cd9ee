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
// else. A key is one identifier and one purpose, or one identifier and every
// purpose. The rules by which records make up a timeline:
//
//   - The version orders the records of a key. A lower one that comes late
//     changes nothing that a higher one says, but it is history: it tells what
//     was in force when an event happened.
//   - Two records of one version that differ: the more restrictive one stands
//     alone, and a tie is counted. It is the one with the greater reason; of
//     two grants the later, of two others the earlier.
//   - A tombstone empties its key. Versions up to the highest that the key had
//     never come back.
//   - A value that cannot be read denies its key until a record with a higher
//     version than the key had comes: an erasure every purpose of its
//     identifier, a link both its ends, until the same link can be read.
//   - A withdrawal or an objection under a purpose that is not known here takes
//     back something, and nobody can say what: it is one for every purpose, and
//     so is a value under such a purpose that cannot be read. Grants and
//     refusals under it say nothing, for nothing is in force under that name.
//   - An erasure is about the identifier, whichever key it came under. No
//     version, tombstone or later record undoes it.
//   - A message of which nobody can say whom it concerns is an error, and the
//     reader stops. A marker is about nobody and says nothing.
//
// The same records in any order of delivery make the same decisions; only
// tombstones and values that cannot be read depend on what came before them.
//
// # Every purpose
//
// Records for every purpose can only take away, and their versions say nothing
// about those of another key. So time joins the two, and each of them counts,
// whatever its version: a grant for one purpose holds against those that are
// older than it; one of the same time or later outweighs it. Against anything
// but a grant the greater reason wins. A tombstone of that key leaves the
// grants void that its records had outweighed: deleting a withdrawal is not
// consent. A grant for every purpose is no grant (GDPR Art 6(1)(a)) and counts
// as an undecodable record of that key.
//
// # Links
//
// A link makes two identifiers one subject, and links add up. Rows are decided
// over all identifiers of all subjects that a row names. A subject that grows
// beyond Options.MaxLinked identifiers is the mark of a shared or broken one:
// its rows are denied as without a record (or erased), and counted.
//
// # Until the commit
//
// What was decided may be out of date before it is committed. So a stage holds
// the rows that it kept or masked, and the view keeps a journal of the identifiers
// that changed. Held.Recheck decides those rows again that name one of them, or
// somebody who is linked with one, just as they were decided at first. After it
// a row stands only if it would be kept now, and a masked one only if nobody that
// it names is erased. When the journal does not reach back to the first decision,
// every row is decided again.
package consent
