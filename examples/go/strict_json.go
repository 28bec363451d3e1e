// Reads a JSON object that every parser reads in the same way.
//
// By default, encoding/json uses the last of two members with one name, matches field names in any case, replaces what
// is not UTF-8, and rounds whole numbers above 2^53.

package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const jsonDepthMax = 128

// jsonObject has members by name. A value is nil, bool, string, json.Number, []any or jsonObject.
type jsonObject map[string]any

// readObject reads the one JSON object in these bytes.
func readObject(data []byte) (jsonObject, error) {
	switch {
	case !utf8.Valid(data):
		return nil, refuse("not UTF-8")
	case !json.Valid(data):
		return nil, refuse("not JSON")
	case hasHalfCharacter(data):
		return nil, refuse("JSON has half a character")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := readValue(decoder, jsonDepthMax)
	if err != nil {
		return nil, err
	}
	object, isObject := value.(jsonObject)
	if !isObject {
		return nil, refuse("not a JSON object")
	}
	return object, nil
}

func readValue(decoder *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, refuse("JSON is nested deeper than it may be")
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, refuse("not JSON")
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return readMembers(decoder, depth)
		}
		return readElements(decoder, depth)
	case json.Number:
		if !isWhole(token) {
			if _, err := strconv.ParseFloat(string(token), 64); err != nil {
				return nil, refuse("JSON has a number of no size")
			}
		}
	}
	return token, nil
}

func readMembers(decoder *json.Decoder, depth int) (any, error) {
	found := jsonObject{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isName := token.(string)
		if err != nil || !isName {
			return nil, refuse("not JSON")
		}
		if _, isTwice := found[name]; isTwice {
			return nil, refuse("JSON has a member twice")
		}
		value, err := readValue(decoder, depth-1)
		if err != nil {
			return nil, err
		}
		found[name] = value
	}
	_, err := decoder.Token()
	return found, err
}

func readElements(decoder *json.Decoder, depth int) (any, error) {
	found := []any{}
	for decoder.More() {
		value, err := readValue(decoder, depth-1)
		if err != nil {
			return nil, err
		}
		found = append(found, value)
	}
	_, err := decoder.Token()
	return found, err
}

func isWhole(number json.Number) bool {
	return !strings.ContainsAny(string(number), ".eE")
}

// hasHalfCharacter returns whether an escape in valid JSON is a surrogate without its other half.
func hasHalfCharacter(data []byte) bool {
	for at := 0; at < len(data); at++ {
		if data[at] != '\\' {
			continue
		}
		unit := escapedUnit(data[at:])
		at++ // skip the escaped character, which may be a backslash
		if !utf16.IsSurrogate(unit) {
			continue
		}
		at += 5
		if utf16.DecodeRune(unit, escapedUnit(data[at:])) == utf8.RuneError {
			return true
		}
		at += 5
	}
	return false
}

// escapedUnit returns the UTF-16 unit of an escape \uXXXX at the beginning; 0: there is none.
func escapedUnit(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(unit)
}
