// Messages that are refused before they are decoded or read further, and texts that two parsers read differently.

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	mib = 1024 * 1024
	// growthMaxBytes is how much a subscriber may grow, whatever is sent. It includes the messages of this test.
	growthMaxBytes = 96 * mib
)

func lengthed(field protowire.Number, payload []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), payload)
}

// bombs are messages with the reason why each is not decoded.
func bombs() []struct {
	name, why string
	make      func() []byte
} {
	const snapshot, activation = 1, 2
	empty := func(field protowire.Number, count int) []byte { return bytes.Repeat(lengthed(field, nil), count) }
	text := func(latin string) func() []byte { return func() []byte { return []byte(latin) } }
	const odd = "not in the wire format"
	return []struct {
		name, why string
		make      func() []byte
	}{
		{"empty bundles", "more memory", func() []byte { return lengthed(snapshot, empty(1, 7*mib/2)) }},
		{"empty bundles of an activation", "more", func() []byte { return lengthed(activation, empty(3, 7*mib/2)) }},
		{"empty tombstones", "more", func() []byte { return lengthed(activation, empty(4, 7*mib/2)) }},
		{"long numbers", "more fields", func() []byte { return bytes.Repeat([]byte("\x99\x0612345678"), fieldsMax+1) }},
		{"numbers", "more", func() []byte { return bytes.Repeat([]byte("\x98\x06\x01"), fieldsMax+1) }},
		{"more than 8 MiB", "too large", func() []byte { return make([]byte, 8*mib+1) }},
		{"groups in groups", "nested deeper", func() []byte { return bytes.Repeat([]byte("\x9b\x06"), depthMax+1) }},
		{"an end without a group", odd, text("\x9c\x06")},
		{"a group without an end", odd, text("\x9b\x06")},
		{"less than it says", odd, text("\x0a\x05abc")},
		{"a fixed number that is cut", odd, text("\x99\x06abc")},
		{"field 0", odd, text("\x02\x00")},
		{"a number without an end", odd, text("\x98\x06" + strings.Repeat("\xff", 11))},
		{"a type that there is not", odd, text("\x9e\x06")},
		{"text that is not UTF-8", "not a message", text("\x42\x01\xff")},
		{"two kinds at once", "two kinds", func() []byte { return append(lengthed(snapshot, nil), lengthed(activation, nil)...) }},
		{"one kind twice", "two kinds", func() []byte { return empty(snapshot, 2) }},
	}
}

func TestScan(t *testing.T) {
	kinds := map[string]bool{}
	for name, parts := range load[struct{ Messages map[string][][]byte }](t, "streams", "streams.json").Messages {
		for _, part := range parts {
			message, err := readWatchMessage(part)
			expect(t, err == nil, "%s: %v", name, err)
			kinds[fmt.Sprintf("%T", message.Message)] = true
		}
	}
	expect(t, len(kinds) >= 5, "reads only %v", kinds)
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for _, each := range bombs() {
		_, err := readWatchMessage(each.make())
		said := why(t, err)
		expect(t, strings.Contains(said, each.why), "%s: %q instead of %q", each.name, said, each.why)
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	growth := (after.Maxrss - before.Maxrss) * 1024
	expect(t, growth < growthMaxBytes, "grows by %d bytes", growth)
}

// Tokens of different sizes with valid signatures.
func TestSizesOfTokens(t *testing.T) {
	s := newSigner(t)
	most := 8*1024 - len(s.header("t", 0))
	read := func(spaces, size int) string {
		_, err := verifiedPayload(s.token(s.header("t", spaces), strings.Repeat("x", size)), "t", s.keys)
		return why(t, err)
	}
	expect(t, read(most, 64*1024) == "", "the largest token is refused")
	expect(t, read(most+1, 1) != "" && read(0, 64*1024+1) != "", "a token that is too large is taken")
}

func TestCollected(t *testing.T) {
	many := func(count int) []*active {
		var all []*active
		for number := 0; number < count; number++ {
			all = append(all, &active{policy: fmt.Sprintf("p%d", number)})
		}
		return all
	}
	ids := func(from, to int) []string {
		var all []string
		for number := from; number < to; number++ {
			all = append(all, fmt.Sprintf("p%d", number))
		}
		return all
	}
	snapshot := func(bundles []*active, isLast bool) string {
		_, err := new(collected).addSnapshotPart(bundles, isLast)
		return why(t, err)
	}
	activation := func(bundles []*active, tombstones []string, isLast bool) string {
		_, err := new(collected).addActivationPart(bundles, tombstones, isLast)
		return why(t, err)
	}
	expect(t, snapshot(many(10_000), true) == "", "as many policies as there can be are refused")
	expect(t, activation(nil, ids(0, 100), true) == "", "as many changes as there can be are refused")
	for name, said := range map[string]string{
		"more policies than there can be": snapshot(many(10_001), true),
		"more changes than there can be":  activation(many(1), ids(1, 101), true),
		"a policy twice":                  snapshot(append(many(1), many(1)...), true),
		"a change twice":                  activation(many(1), ids(0, 1), true),
		"an empty part of a snapshot":     snapshot(nil, false),
		"an empty part of an activation":  activation(nil, nil, false),
		"a part without a last one": func() string {
			parts := new(collected)
			parts.addSnapshotPart(many(1), false)
			_, err := parts.addSnapshotPart(many(1), true)
			return why(t, err)
		}(),
	} {
		expect(t, said != "", "%s: is taken", name)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	jwks := load[struct{ Keys []says }](t, "jwks.json").Keys
	for _, lie := range []says{
		{"d": "AAAA"}, {"d": nil}, {"kid": "mine"}, {"alg": "RS256"}, {"use": "enc"}, {"kty": "oct"}, {"crv": "X25519"}, {"x": "AAAA"}, {"x": 1},
	} {
		for _, jwk := range jwks {
			changed := says{}
			for _, from := range []says{jwk, lie} {
				for name, value := range from {
					changed[name] = value
				}
			}
			data, _ := json.Marshal(says{"keys": []says{changed}})
			_, err := readKeys(data)
			expect(t, why(t, err) != "", "a key with %v is taken", lie)
		}
	}
	y := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	_, err := readKeys([]byte(fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}]}`, y, y)))
	expect(t, strings.Contains(why(t, err), "no point"), "a key that is no point of its curve: %v", err)
}

func TestStrictJSON(t *testing.T) {
	for _, text := range []string{
		"[1]", `{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{"a":1,"\u0061":2}`, `{"a":1e999}`, `{"a":NaN}`, `{"a":"\ud800"}`, `{"a":"\udc00\ud800"}`,
		`{"a":"\ud800\\udc00"}`, `{"a":"\x"}`, `{"a":01}`, `{"a":1,}`, `{a:1}`, "\ufeff{}", "{}{}", "", "null", strings.Repeat("[", 60_000),
		"{\"a\":\"\n\"}", `{'a':1}`, "{\"a\":\"\xff\"}", `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	} {
		_, err := readObject([]byte(text))
		expect(t, why(t, err) != "", "%.40s is read", text)
	}
	found, err := readObject([]byte(`{"a": [9223372036854775807, 1.5, "\u00e9\ud83d\ude00\\u0061", true], "A": null}`))
	expect(t, err == nil && fmt.Sprint(found["a"]) == `[9223372036854775807 1.5 é😀\u0061 true]`, "reads %v: %v", found, err)
	for _, part := range []string{"AB", "AA=", "A\nA", "A", "A+"} {
		_, err := readPart(part, 8)
		expect(t, why(t, err) != "", "base64url is read in another spelling: %q", part)
	}
}
