package pipelinetest

import (
	"context"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// Contracts are two small tables, red and blue, and the rejects table.
func Contracts() []*schemas.Contract {
	table := func(name string) *schemas.Contract {
		return &schemas.Contract{
			ID: name, Version: "1.0.0", Table: name, EventTime: -1,
			Fields: []schemas.Field{{Name: "value", Type: schemas.Text, Treatment: schemas.Treatment{Technique: schemas.Keep}}},
		}
	}
	return []*schemas.Contract{table("red"), table("blue"), schemas.Rejects()}
}

var valueSchema = arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)

// Decoder reads messages of the form "red:value": both tables take "both:",
// "bad:" is malformed, "conflict:" is a reject of red, anything else is
// unrouted.
type Decoder struct{}

// Decode makes one text column for each table.
func (Decoder) Decode(_ context.Context, _ string, msgs *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error) {
	builders := []*array.StringBuilder{
		array.NewStringBuilder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)}
	rows := make([]schemas.Rows, len(builders))
	var rejects []schemas.Reject
	take := func(table, message int, value string) {
		builders[table].Append(value)
		rows[table].Message = append(rows[table].Message, int32(message))
	}
	for i, v := range msgs.Values {
		name, value, _ := strings.Cut(string(msgs.Arena[v.Off:v.Off+v.Len]), ":")
		reject := schemas.Reject{Message: int32(i), Contract: schemas.NoContract, Field: schemas.NoField}
		switch name {
		case "red":
			take(0, i, value)
		case "blue":
			take(1, i, value)
		case "both":
			take(0, i, value)
			take(1, i, value)
		case "conflict":
			reject.Reason, reject.Contract, reject.Field = schemas.IdentityConflict, 0, 0
			rejects = append(rejects, reject)
		case "bad":
			reject.Reason = schemas.Malformed
			rejects = append(rejects, reject)
		case "":
			reject.Reason = schemas.EmptyMessage
			rejects = append(rejects, reject)
		default:
			reject.Reason = schemas.Unrouted
			rejects = append(rejects, reject)
		}
	}
	for t, b := range builders {
		column := b.NewArray()
		rows[t].Record = array.NewRecord(valueSchema, []arrow.Array{column}, int64(column.Len()))
	}
	return rows, rejects, nil
}

// Judge is a stage that keeps values that begin with k, masks those with m and
// drops the others as withdrawn; masked values are null.
type Judge struct{}

// Apply sets verdicts, reasons, the selection and the treated column.
func (Judge) Apply(_ context.Context, b *pipeline.Batch) error {
	raw := b.Raw.Column(0).(*array.String)
	out := array.NewStringBuilder(memory.DefaultAllocator)
	for i := range raw.Len() {
		verdict, reason := pipeline.DropRow, schemas.Withdrawn
		switch value := raw.Value(i); value[0] {
		case 'k':
			verdict, reason = pipeline.KeepRow, schemas.ConsentGiven
			out.Append(value)
		case 'm':
			verdict = pipeline.MaskRow
			out.AppendNull()
		}
		b.Verdicts = append(b.Verdicts, verdict)
		b.Reasons = append(b.Reasons, reason)
		b.Granted = append(b.Granted, 0)
		if verdict != pipeline.DropRow {
			b.Selected = append(b.Selected, int32(i))
		}
	}
	column := out.NewArray()
	b.Out = array.NewRecord(valueSchema, []arrow.Array{column}, int64(column.Len()))
	return nil
}
