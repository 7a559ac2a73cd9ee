// Package schemas holds the words that every other package speaks: subjects
// and their identifiers, purposes, consent records, data categories,
// contracts, and the fixed list of reasons.
//
// It imports nothing else of this module. The zero value of every permission
// in it is the strictest one: an unset denial drops, an unset purpose set
// grants nothing, an unset treatment drops the field.
package schemas
