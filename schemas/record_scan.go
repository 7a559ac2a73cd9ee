package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// The limits of a ledger record. Real ones have some 30 members and two levels.
const (
	maxRecordMembers = 256
	maxRecordDepth   = 32
)

// What is wrong with text that is no record at all.
var (
	errNotUTF8     = errors.New("the record is not UTF-8")
	errNotJSON     = errors.New("the record is not JSON")
	errNotObject   = errors.New("the record is not a JSON object")
	errTooDeep     = errors.New("the record is nested too deep")
	errTwice       = errors.New("the record has a member twice")
	errManyMembers = fmt.Errorf("the record has more than %d members in one object", maxRecordMembers)
	errBadName     = fmt.Errorf("the record has a name that is %w", errNotUnicode)
)

// recordMember is a member of a record that is read.
type recordMember uint8

const (
	unread recordMember = iota
	theRecord
	theSchemaVersion
	theRecordID
	thePrincipal
	theLinked
	thePurpose
	theState
	theVerb
	theTime
	theValidity
	theSequence
	theMethod
	theNotice
	theType
	theSource
	theSystem
	theEvidence
	theConfirmation
	theValidityEnd
	theLanguage
	theBasis
	theProcessing
	theStorage
	theRestrictions
	theFields
	theUntil
	theBirthDate
	theBirthYear
	theCountry
	theShared

	numMembers
)

// memberNames are the names for messages.
var memberNames = [numMembers]string{
	theSchemaVersion: "schema_version",
	theRecordID:      "record_id",
	thePrincipal:     "pii_principal_id",
	theLinked:        "linked_principal_id",
	thePurpose:       "purpose",
	theState:         "event_state",
	theVerb:          "verb",
	theTime:          "event_time",
	theValidity:      "validity_duration",
	theSequence:      "sequence",
	theMethod:        "collection_method",
	theNotice:        "privacy_notice",
	theType:          "event_type",
	theSource:        "source",
	theSystem:        "source.system",
	theEvidence:      "evidence",
	theConfirmation:  "evidence.confirmed_at",
	theValidityEnd:   "validity_end",
	theLanguage:      "language",
	theBasis:         "lawful_basis",
	theProcessing:    "processing_id",
	theStorage:       "storage_locations",
	theRestrictions:  "geographic_restrictions",
	theFields:        "retained_fields",
	theUntil:         "until",
	theBirthDate:     "birth_date",
	theBirthYear:     "birth_year",
	theCountry:       "country",
	theShared:        "shared",
}

// named finds the member of a name in the object that m is.
func (m recordMember) named(name []byte) recordMember {
	switch m {
	case theRecord:
		return topMember(name)
	case theSource:
		if string(name) == "system" {
			return theSystem
		}
	case theEvidence:
		if string(name) == "confirmed_at" {
			return theConfirmation
		}
	}
	return unread
}

func topMember(name []byte) recordMember {
	switch string(name) {
	case "schema_version":
		return theSchemaVersion
	case "record_id":
		return theRecordID
	case "pii_principal_id":
		return thePrincipal
	case "linked_principal_id":
		return theLinked
	case "purpose":
		return thePurpose
	case "event_state":
		return theState
	case "verb":
		return theVerb
	case "event_time":
		return theTime
	case "validity_duration":
		return theValidity
	case "sequence":
		return theSequence
	case "collection_method":
		return theMethod
	case "privacy_notice":
		return theNotice
	case "event_type":
		return theType
	case "source":
		return theSource
	case "evidence":
		return theEvidence
	case "validity_end":
		return theValidityEnd
	case "language":
		return theLanguage
	case "lawful_basis":
		return theBasis
	case "processing_id":
		return theProcessing
	case "storage_locations":
		return theStorage
	case "geographic_restrictions":
		return theRestrictions
	case "retained_fields":
		return theFields
	case "until":
		return theUntil
	case "birth_date":
		return theBirthDate
	case "birth_year":
		return theBirthYear
	case "country":
		return theCountry
	case "shared":
		return theShared
	}
	return unread
}

// recordMembers are the members of a record as JSON, parts of its text; nil
// when they are absent or null.
type recordMembers [numMembers][]byte

// recordScanner goes over the text of a record once. It makes sure that it is
// one JSON object in which no name stands twice, at any depth, and notes where
// the values of members are. The standard decoder would take the last of two
// members with the same name, match names without their case, and mend text
// that is not Unicode; and it would go over the text three times.
//
// Methods take the index at which something begins and give the index behind it.
type recordScanner struct {
	data    []byte
	members recordMembers
}

func (s *recordScanner) scan() error {
	if !utf8.Valid(s.data) {
		return errNotUTF8
	}
	err := s.record()
	if err != nil && err != errNotJSON && !json.Valid(s.data) {
		// What is no JSON is called so, even if something else was met first.
		err = errNotJSON
	}
	return err
}

func (s *recordScanner) record() error {
	i := skipSpace(s.data, 0)
	if byteAt(s.data, i) != '{' {
		return errNotObject
	}
	i, err := s.object(i, 0, theRecord)
	if err == nil && skipSpace(s.data, i) < len(s.data) {
		err = errNotJSON
	}
	return err
}

// value goes over the value of m.
func (s *recordScanner) value(i, depth int, m recordMember) (end int, err error) {
	switch byteAt(s.data, i) {
	case '{':
		return s.object(i, depth, m)
	case '[':
		return s.array(i, depth)
	case '"':
		end = endOfString(s.data, i)
	case 't':
		end = endOfWord(s.data, i, "true")
	case 'f':
		end = endOfWord(s.data, i, "false")
	case 'n':
		end = endOfWord(s.data, i, "null")
	default:
		end = endOfNumber(s.data, i)
	}
	if end < 0 {
		return 0, errNotJSON
	}
	return end, nil
}

func (s *recordScanner) array(i, depth int) (end int, err error) {
	if depth == maxRecordDepth {
		return 0, errTooDeep
	}
	if i = skipSpace(s.data, i+1); byteAt(s.data, i) == ']' {
		return i + 1, nil
	}
	for {
		if i, err = s.value(i, depth+1, unread); err != nil {
			return 0, err
		}
		i = skipSpace(s.data, i)
		switch byteAt(s.data, i) {
		case ',':
			i = skipSpace(s.data, i+1)
		case ']':
			return i + 1, nil
		default:
			return 0, errNotJSON
		}
	}
}

// object goes over the object that is the value of m.
func (s *recordScanner) object(i, depth int, m recordMember) (end int, err error) {
	if depth == maxRecordDepth {
		return 0, errTooDeep
	}
	if i = skipSpace(s.data, i+1); byteAt(s.data, i) == '}' {
		return i + 1, nil
	}
	var room [16][]byte
	names := objectNames{others: room[:0]}
	for {
		name, start, err := s.name(i)
		if err != nil {
			return 0, err
		}
		inner := m.named(name)
		if err := names.check(inner, name); err != nil {
			return 0, err
		}
		if inner == unread {
			names.others = append(names.others, name)
		}
		names.read |= 1 << inner
		if i, err = s.value(start, depth+1, inner); err != nil {
			return 0, err
		}
		if inner != unread && s.data[start] != 'n' {
			s.members[inner] = s.data[start:i]
		}
		i = skipSpace(s.data, i)
		switch byteAt(s.data, i) {
		case ',':
			i = skipSpace(s.data, i+1)
		case '}':
			return i + 1, nil
		default:
			return 0, errNotJSON
		}
	}
}

// name goes over the name of a member and all that stands before its value.
func (s *recordScanner) name(i int) (name []byte, end int, err error) {
	if byteAt(s.data, i) != '"' {
		return nil, 0, errNotJSON
	}
	if end = endOfString(s.data, i); end < 0 {
		return nil, 0, errNotJSON
	}
	name, ok := unquote(s.data[i:end])
	if !ok {
		return nil, 0, errBadName
	}
	if i = skipSpace(s.data, end); byteAt(s.data, i) != ':' {
		return nil, 0, errNotJSON
	}
	return name, skipSpace(s.data, i+1), nil
}

// objectNames are the names that one object has had so far.
type objectNames struct {
	read   uint32   // a bit for each member that is read: these need no comparing
	others [][]byte // the others
}

// check makes sure that an object may have one more name, which stands for m.
func (n *objectNames) check(m recordMember, name []byte) error {
	twice := m != unread && n.read>>m&1 == 1
	for i := 0; i < len(n.others) && m == unread && !twice; i++ {
		twice = bytes.Equal(n.others[i], name)
	}
	if twice {
		return errTwice
	}
	if len(n.others)+bits.OnesCount32(n.read&^(1<<unread)) == maxRecordMembers {
		return errManyMembers
	}
	return nil
}
