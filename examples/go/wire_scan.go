// Limits the decoded size of a message before any of it is decoded: an element of two bytes can take hundreds in
// memory.
//
// Nothing is kept, and unreadable bytes are refused.

package main

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// extraMaxBytes is how much memory a message may take beyond twice its size on the wire. Honest ones are at most 2 MiB
	// and take less.
	extraMaxBytes = 4 * 1024 * 1024
	fieldsMax     = 512 * 1024
	depthMax      = 64
	// The memory of an element, rounded up: an embedded message, a text, a number.
	messageBytes = 256
	textBytes    = 32
	numberBytes  = 16
)

// scanMessage refuses a message that would take much more memory than its size, is nested too deeply, is of two kinds,
// or is invalid.
func scanMessage(kind protoreflect.MessageDescriptor, data []byte) error {
	scan := wireScan{fields: fieldsMax, memory: 2*len(data) + extraMaxBytes}
	return scan.message(data, kind, depthMax)
}

// wireScan counts what is left of the limits.
type wireScan struct{ fields, memory int }

func notTheFormat() error { return refuse("message is not in the wire format") }

func tooDeep() error { return refuse("message is nested deeper than it may be") }

func (s *wireScan) message(data []byte, kind protoreflect.MessageDescriptor, depth int) error {
	if depth == 0 {
		return tooDeep()
	}
	groups, chosen := 0, 0
	for len(data) > 0 {
		if s.fields--; s.fields < 0 {
			return refuse("message has more fields than it may have")
		}
		number, wire, length := protowire.ConsumeTag(data)
		if length < 0 {
			return notTheFormat()
		}
		data = data[length:]
		switch wire {
		case protowire.StartGroupType:
			if groups++; groups >= depth {
				return tooDeep()
			}
			continue
		case protowire.EndGroupType:
			if groups--; groups < 0 {
				return notTheFormat()
			}
			continue
		}
		var field protoreflect.FieldDescriptor
		if groups == 0 {
			field = kind.Fields().ByNumber(number)
		}
		// Another parser might use the first of two, and this one the last.
		if field != nil && field.ContainingOneof() != nil && !field.ContainingOneof().IsSynthetic() {
			if chosen++; chosen > 1 {
				return refuse("message is of two kinds")
			}
		}
		length, err := s.field(data, wire, field, depth)
		if err != nil {
			return err
		}
		data = data[length:]
	}
	if groups != 0 {
		return notTheFormat()
	}
	return nil
}

// field scans the value of a field, and returns its length. field is nil for an unknown one.
func (s *wireScan) field(data []byte, wire protowire.Type, field protoreflect.FieldDescriptor, depth int) (int, error) {
	length := -1
	switch wire {
	case protowire.VarintType:
		_, length = protowire.ConsumeVarint(data)
	case protowire.Fixed32Type:
		_, length = protowire.ConsumeFixed32(data)
	case protowire.Fixed64Type:
		_, length = protowire.ConsumeFixed64(data)
	case protowire.BytesType:
		var value []byte
		if value, length = protowire.ConsumeBytes(data); length >= 0 {
			return length, s.payload(value, field, depth)
		}
	}
	if length < 0 {
		return 0, notTheFormat()
	}
	return length, s.take(numberBytes)
}

func (s *wireScan) payload(value []byte, field protoreflect.FieldDescriptor, depth int) error {
	switch {
	case field != nil && field.Message() != nil:
		if err := s.take(messageBytes); err != nil {
			return err
		}
		return s.message(value, field.Message(), depth-1)
	case field == nil || field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.BytesKind:
		return s.take(textBytes + len(value))
	default:
		return s.take(numberBytes * len(value)) // packed numbers have at least a byte each
	}
}

func (s *wireScan) take(bytes int) error {
	if s.memory -= bytes; s.memory < 0 {
		return refuse("message would take much more memory than it has bytes")
	}
	return nil
}
