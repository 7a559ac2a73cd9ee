// Package pipeline is the contract between the rooms and the loop that runs
// them: a Source hands over chunks of raw messages, a Decoder makes them
// columns, Stages decide and treat them, and a Sink keeps what may be kept.
//
// One engine serves both modes: a backfill is Run over bounded sources, a
// stream is Run over sources that never end. Positions live in the sink's
// commits and nowhere else, so a run that is killed starts again from what was
// committed, and no row is lost or written twice.
package pipeline
