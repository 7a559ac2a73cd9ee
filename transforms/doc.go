// Package transforms treats the columns of a batch: what the contract says
// happens to a field's value before it may be stored.
//
// A worker makes one Stage for the contracts of its job and runs it after the
// consent decision:
//
//	stage, err := transforms.NewStage(contracts, func(name string) (transforms.Tokens, error) {
//		return keyset.Domain(name)
//	})
//	err = stage.Apply(ctx, batch) // sets batch.Selected and batch.Out
//
// A value passes only if its row was kept (or masked, for the few fields that
// outlive masking), every purpose of its field is granted, and its technique
// could make something of it. What a technique cannot read becomes null, never
// the value itself; a batch that is not what its contract says is an error.
// Work is done a column at a time into buffers that the next batch uses again,
// and nothing is allocated for a row.
package transforms
