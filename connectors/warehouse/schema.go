package warehouse

import (
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"

	"lupa/schemas"
)

// icebergSchema is the schema that a table is created with. The table gives
// its fields ids of its own; adopt reads them back.
func icebergSchema(cols []column) *iceberg.Schema {
	fields := make([]iceberg.NestedField, len(cols))
	for i := range cols {
		c := &cols[i]
		fields[i] = iceberg.NestedField{ID: i + 1, Name: c.name, Doc: c.doc, Required: c.required, Type: icebergType(c.kind)}
		if list, ok := fields[i].Type.(*iceberg.ListType); ok {
			list.ElementID = len(cols) + 1 + i
		}
	}
	return iceberg.NewSchema(0, fields...)
}

func icebergType(k kind) iceberg.Type {
	switch k {
	case stringKind:
		return iceberg.PrimitiveTypes.String
	case intKind:
		return iceberg.PrimitiveTypes.Int32
	case longKind:
		return iceberg.PrimitiveTypes.Int64
	case doubleKind:
		return iceberg.PrimitiveTypes.Float64
	case booleanKind:
		return iceberg.PrimitiveTypes.Bool
	case timestampKind:
		return iceberg.PrimitiveTypes.TimestampTz
	case dateKind:
		return iceberg.PrimitiveTypes.Date
	case uuidKind:
		return iceberg.PrimitiveTypes.UUID
	}
	return &iceberg.ListType{Element: iceberg.PrimitiveTypes.String, ElementRequired: true}
}

// createOptions say how a table is made: partitioned by the day of the event,
// ordered by subject, with few and small metadata files.
func createOptions(c *schemas.Contract, cols []column, eventTime int, location string) ([]catalog.CreateTableOpt, error) {
	props := iceberg.Properties{
		icetable.PropertyFormatVersion:               "2",
		icetable.ManifestMergeEnabledKey:             "true",
		icetable.MetadataDeleteAfterCommitEnabledKey: "true",
		icetable.MetadataPreviousVersionsMaxKey:      "10",
		propContract:                                 c.ID,
	}
	opts := []catalog.CreateTableOpt{catalog.WithLocation(location)}
	for i := range cols {
		if cols[i].hidden {
			props[icetable.MetricsModeColumnConfPrefix+"."+cols[i].name] = "none"
		}
		if cols[i].origin != fromBatch {
			continue
		}
		if cols[i].out == eventTime {
			spec := iceberg.NewPartitionSpec(iceberg.PartitionField{
				SourceIDs: []int{i + 1}, FieldID: 1000, Name: cols[i].name + "_day", Transform: iceberg.DayTransform{}})
			opts = append(opts, catalog.WithPartitionSpec(&spec))
		}
		if cols[i].name == subjectColumn {
			order, err := icetable.NewSortOrder(1, []icetable.SortField{{SourceIDs: []int{i + 1},
				Transform: iceberg.IdentityTransform{}, Direction: icetable.SortASC, NullOrder: icetable.NullsFirst}})
			if err != nil {
				return nil, err
			}
			opts = append(opts, catalog.WithSortOrder(order))
		}
	}
	return append(opts, catalog.WithProperties(props)), nil
}

// adopt compares a table with the columns that its contract needs, and takes
// over the table's field ids.
func adopt(name string, t *icetable.Table, cols []column, eventTime int) error {
	fields := t.Schema().Fields()
	for i := range cols {
		c := &cols[i]
		if i >= len(fields) {
			return fmt.Errorf("table %s: column %s of the contract is not in the table", name, c.name)
		}
		f := &fields[i]
		if f.Name != c.name {
			return fmt.Errorf("table %s: column %d is %s, the contract needs %s there", name, i+1, f.Name, c.name)
		}
		if want := icebergType(c.kind); !sameType(f.Type, want) {
			return fmt.Errorf("table %s: column %s is %s, the contract needs %s", name, c.name, f.Type, want.Type())
		}
		if f.Required != c.required {
			return fmt.Errorf("table %s: column %s has required=%t, the contract needs %t", name, c.name, f.Required, c.required)
		}
		c.id = f.ID
		if list, ok := f.Type.(*iceberg.ListType); ok {
			c.element = list.ElementID
		}
	}
	if len(fields) > len(cols) {
		return fmt.Errorf("table %s: column %s is not in the contract", name, fields[len(cols)].Name)
	}
	return samePartitions(name, t, cols, eventTime)
}

// sameType compares two types, but not the ids inside a list.
func sameType(have, want iceberg.Type) bool {
	h, ok := have.(*iceberg.ListType)
	if w, list := want.(*iceberg.ListType); ok && list {
		return h.Element.Equals(w.Element) && h.ElementRequired == w.ElementRequired
	}
	return have.Equals(want)
}

func samePartitions(name string, t *icetable.Table, cols []column, eventTime int) error {
	spec := t.Spec()
	if eventTime < 0 {
		if spec.NumFields() != 0 {
			return fmt.Errorf("table %s: it is partitioned, its contract has no event time", name)
		}
		return nil
	}
	for i := range cols {
		if cols[i].origin != fromBatch || cols[i].out != eventTime {
			continue
		}
		if spec.NumFields() == 1 {
			if f := spec.Field(0); f.SourceID() == cols[i].id && f.Transform.Equals(iceberg.DayTransform{}) {
				return nil
			}
		}
		return fmt.Errorf("table %s: it is not partitioned by the day of column %s", name, cols[i].name)
	}
	return fmt.Errorf("table %s: its contract's event time is no column", name)
}
