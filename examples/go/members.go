// Reads the members of a signed object, each of which must exist and be valid. Other members are ignored, because a
// later server may add some.

package main

import (
	"encoding/json"
	"math"
	"regexp"
)

var (
	isID     = regexp.MustCompile(`^[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?$`).MatchString
	isDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString
	isHash   = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString
)

func isAny(string) bool { return true }

func isNotEmpty(text string) bool { return text != "" }

// members reads an object. err is about the first member that is missing or invalid; what is read after it means
// nothing.
type members struct {
	object jsonObject
	what   string
	err    error
}

func newMembers(value any, what string) *members {
	object, isObject := value.(jsonObject)
	m := &members{object: object, what: what}
	if !isObject {
		m.err = refuse("%s is no object", what)
	}
	return m
}

// ensure records why the object is refused, unless the condition holds or it was refused before.
func (m *members) ensure(holds bool, format string, values ...any) {
	if !holds && m.err == nil {
		m.err = refuse(format, values...)
	}
}

// has returns whether an optional member exists.
func (m *members) has(name string) bool { return m.object[name] != nil }

func (m *members) text(name string, fits func(string) bool) string {
	text, isText := m.object[name].(string)
	m.ensure(isText && fits(text), "%s of %s is absent or wrong", name, m.what)
	return text
}

// optionalText reads a text that may be missing, and then is empty.
func (m *members) optionalText(name string, fits func(string) bool) string {
	if !m.has(name) {
		return ""
	}
	return m.text(name, fits)
}

func (m *members) whole(name string, least int64) int64 {
	number, _ := m.object[name].(json.Number)
	value, err := number.Int64()
	m.ensure(err == nil && value >= least, "%s of %s is absent or wrong", name, m.what)
	return value
}

// time reads seconds since the Unix epoch.
func (m *members) time(name string) int64 { return m.whole(name, math.MinInt64) }

func (m *members) list(name string) []any {
	list, isList := m.object[name].([]any)
	m.ensure(isList, "%s of %s is no list", name, m.what)
	return list
}
