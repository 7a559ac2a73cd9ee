package decode

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// wellKnownProto gives the files that a registry's schemas import without a
// reference: those that its own clients bring along. Of confluent/meta.proto
// only options are used, and these are dropped.
func wellKnownProto(path string) (text string, ok bool) {
	const head = "syntax = \"proto3\";\npackage google.type;\n"
	switch path {
	case "confluent/meta.proto":
		return "syntax = \"proto3\";\npackage confluent;\n", true
	case "confluent/type/decimal.proto", "confluent/types/decimal.proto":
		return "syntax = \"proto3\";\npackage confluent.type;\n" +
			"message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }", true
	case "google/type/date.proto":
		return head + "message Date { int32 year = 1; int32 month = 2; int32 day = 3; }", true
	case "google/type/timeofday.proto":
		return head + "message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }", true
	case "google/type/money.proto":
		return head + "message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; }", true
	case "google/type/latlng.proto":
		return head + "message LatLng { double latitude = 1; double longitude = 2; }", true
	case "google/type/decimal.proto":
		return head + "message Decimal { string value = 1; }", true
	}
	return "", false
}

// dropOptions drops the options of a file, at any depth, that an extension
// defines.
func dropOptions(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList() && f.Message().FullName() == "google.protobuf.UninterpretedOption":
			keepPlainOptions(v.List())
		case f.IsList():
			for i := range v.List().Len() {
				dropOptions(v.List().Get(i).Message())
			}
		default:
			dropOptions(v.Message())
		}
		return true
	})
}

func keepPlainOptions(list protoreflect.List) {
	kept := 0
	for i := range list.Len() {
		option := list.Get(i)
		if o, ok := option.Message().Interface().(*descriptorpb.UninterpretedOption); ok && plainOption(o) {
			list.Set(kept, option)
			kept++
		}
	}
	list.Truncate(kept)
}

func plainOption(o *descriptorpb.UninterpretedOption) bool {
	for _, part := range o.Name {
		if part.GetIsExtension() {
			return false
		}
	}
	return true
}
