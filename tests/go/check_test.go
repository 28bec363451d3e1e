// Checks examples/go without a server: golden vectors, limits, whole streams, restarts. The end prints what was
// checked.

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var checked []string

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Printf("go: %s\n", strings.Join(checked, "; "))
	os.Exit(code)
}

func sayChecked(format string, values ...any) {
	checked = append(checked, fmt.Sprintf(format, values...))
}

// expect fails the test unless the condition holds.
func expect(t *testing.T, holds bool, format string, values ...any) {
	t.Helper()
	if !holds {
		t.Fatalf(format, values...)
	}
}

// load reads a file of tests/vectors.
func load[T any](t *testing.T, name ...string) T {
	t.Helper()
	var found T
	err := json.Unmarshal(readVector(t, name...), &found)
	expect(t, err == nil, "%v: %v", name, err)
	return found
}

func readVector(t *testing.T, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{os.Getenv("VECTORS")}, name...)...))
	expect(t, err == nil, "%v", err)
	return data
}

// why returns the reason of a refusal; empty: it is accepted. Any other error fails the test.
func why(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	expect(t, asRefusal(err) != nil && err.Error() != "", "not a refusal: %v", err)
	return err.Error()
}

func mustKeys(t *testing.T, jwks []byte) keySet {
	t.Helper()
	keys, err := readKeys(jwks)
	expect(t, err == nil, "keys: %v", err)
	return keys
}

// flippedEveryBits is no multiple of 8, so that every bit position of a byte is tried.
const flippedEveryBits = 7

// flipped returns copies of some bytes, each with one bit flipped.
func flipped(data []byte) [][]byte {
	var all [][]byte
	for bit := 0; bit < len(data)*8; bit += flippedEveryBits {
		changed := append([]byte(nil), data...)
		changed[bit>>3] ^= 1 << (bit & 7)
		all = append(all, changed)
	}
	return all
}
