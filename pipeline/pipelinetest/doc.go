// Package pipelinetest has what tests of the pipeline share: a source, a
// ledger, a quarantine and a sink in memory, a wrapper that fails the n-th
// call before or after it took effect, and the suites that every source and
// sink must pass, the ones in memory included.
package pipelinetest
