// Package decode turns the bytes of messages into the Arrow columns of
// contracts. The common case is one JSON object a message:
//
//	d, err := decode.NewJSON(contracts, decode.Options{})
//	rows, rejects, err := d.Decode(ctx, topic, messages)
//
// New makes a decoder of topics that have other formats, too: Avro, JSON and
// Protobuf of a schema registry, CloudEvents, and Debezium's change events. It
// rewrites each message as the JSON text that it stands for, its view, and all
// that follows is about views. FORMAT.md says what the view of a message is.
//
// A message is scanned once for all contracts. The keys on the way to any path
// that a contract names form a tree, each path is one slot, and the scan leaves
// in each slot where the value stands. Then every contract whose conditions
// hold takes its fields from the slots. Text stays where it is: a column holds
// views into the arena, and only texts with escapes are written anew, into a
// side buffer. What no contract names is checked for syntax and for UTF-8, and
// is never copied.
//
// # What is a row
//
//   - A message is exactly one JSON text of RFC 8259 with white space around
//     it. A byte order mark, bytes that are not UTF-8, half a surrogate pair
//     and anything behind the text are malformed, wherever they stand. A JSON
//     text that is no object is well-formed, and no contract takes it.
//   - Keys are compared after their escapes are undone. Paths lead through
//     objects only, never into arrays.
//   - A field takes the first of its paths whose value is present and not null.
//   - When a key comes twice, the last value of each path wins. Two objects
//     under one key count as one object with the members of both.
//   - An identity field is stricter. An empty text is no identity and counts as
//     absent. All its paths, and every repetition of a key, are compared, after
//     escapes are undone and types are converted; two values that differ are an
//     identity conflict. The one value that is left is taken, even when the key
//     comes again with null.
//   - A dropped field that is neither an identity nor the event time is a
//     column of nulls whose value is never looked at: any value, even an object,
//     satisfies Required, and no type is wrong.
//   - A signal, a field of type JSON, is the text of the value whatever that is.
//     All its paths, and every repetition of a key, are compared; where two
//     values differ, where null follows a value and where an object comes twice
//     it is a text that is no JSON. A string may have its escapes undone.
//   - A row without event time takes the message's own time. An event time
//     that is there but is of the wrong type is not replaced.
//
// # Types
//
// Text is a JSON string. Integer is a number that is integral and fits in 64
// bits, however it is spelled (12, 12.0, 1.2e1). Number is a number that fits
// in a float64. Boolean is true or false. Timestamp is an RFC 3339 date-time;
// the T may be a space, seconds may be missing, the fraction has one to nine
// digits of which microseconds are kept, and the zone is Z or ±hh, ±hhmm,
// ±hh:mm. A second 60 is the first of the next minute. Date is YYYY-MM-DD.
//
// A field that coerces also takes: for Text, a number or boolean in its exact
// spelling, but for an identity, where a whole number of 64 bits is its digits,
// however it is spelled; for the other types, a text that spells a JSON number or boolean
// and nothing else; for Timestamp, a date (its midnight, UTC), a date-time
// without zone (UTC), and the time since 1970 as a number or its text: seconds
// from 1e8 and below 1e10, milliseconds from 1e11 and below 1e13, both from
// 1973-03-03 to 2286-11-20. Numbers outside of both ranges, such as 20190314,
// are of the wrong type. An empty text is then null, and the next path is taken.
package decode
