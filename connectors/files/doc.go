// Package files reads events, and a consent ledger, from files of JSON lines,
// plain or compressed with gzip or zstd.
//
//	set, err := files.NewSet(files.Options{Paths: []string{"events/**/*.jsonl.gz"}})
//	source := set.Source() // one for each worker
//	err = source.Open(ctx, positions)
//	chunk, err := source.Next(ctx) // io.EOF after the last
//
// The sources of one set share a queue: each takes whole files, so that every
// file is read by one worker and in order.
//
// What a position means: the partition's topic is the file's absolute path
// with its ID 0, so that a file keeps its name whatever the working directory
// and however the path was spelled. The offset is the number of the line,
// counted from 0. An empty line has a number and is no message.
//
// A mark's anchor holds the size of the file and the SHA-256 of its first
// 64 KiB as they are on disk, and whether the file was read to its end. A file
// that was is not read again. One that has grown since and begins with the
// same bytes is read on from its line; any other change is an error that names
// the file, and nothing is reset.
//
// What is read: compression is told by the first bytes, whatever the name
// says. Lines end with LF or CR LF, the last one may end with the file. A
// UTF-8 byte order mark at the beginning of a file is not part of its first
// line. A line over the limit is passed over without holding it and listed as
// too large. A compressed file that is cut short or damaged is an error with
// the place in it; so is a file that changes while it is read. Errors name
// files, lines and bytes, never what is in them.
//
// Rows of tables, which are read once and have no position, come from OpenRows:
// CSV, JSON lines and Parquet, each row as one JSON object.
package files
