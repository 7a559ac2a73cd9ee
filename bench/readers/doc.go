// Package readers checks that engines which know nothing of lupa read its
// tables and find in them what the tables' own counts say.
//
// The test needs a C compiler for DuckDB and a Python with PyIceberg, so it is
// behind the build tag integration; `make integration` brings both.
package readers
