// Rules that no recorded stream can test, because only the owner of a key could break them; and how long a held set is
// fresh.

package main

import (
	"encoding/json"
	"reflect"
	"testing"

	pb "policyhub/v1"
)

const rulesNow = 1_001

var (
	heldBefore = inForce{"a": {1, 2}, "b": {1, 3}}
	heldAfter  = inForce{"a": {2, 5}, "b": {1, 3}}
	moveOfA    = []move{{"a", 1, 2}}
)

// verdict returns the error of a subscriber for a message; empty: it is accepted.
func verdict(t *testing.T, held *activeSet, message any) string {
	t.Helper()
	whole, isWhole := message.(*pb.WatchActiveResponse)
	if !isWhole {
		whole = asMessage(message)
	}
	before := []any{held.position, held.policies, held.event}
	_, err := held.apply(whole, rulesNow)
	if why(t, err) == "" {
		return ""
	}
	expect(t, reflect.DeepEqual(before, []any{held.position, held.policies, held.event}), "a refusal changes what is held")
	return asRefusal(err).state()
}

func newHeld(s *signer, store string, policies ...string) *activeSet {
	return newActiveSet("default", s.keys, policies, nil, store)
}

// holding returns a set with what was in force before, at revision 4.
func holding(t *testing.T, s *signer) *activeSet {
	t.Helper()
	held := newHeld(s, "")
	isTaken := verdict(t, held, s.snapshot(4, heldBefore, nil)) == ""
	expect(t, isTaken && held.isFresh(rulesNow), "a true snapshot is refused")
	return held
}

// lie is a message and the expected verdict.
type lie struct {
	name    string
	state   string
	message any
}

// liesBeside change one field beside the manifest of a bundle.
func liesBeside(s *signer) []lie {
	var lies []lie
	for name, change := range map[string]func(*pb.Bundle){
		"name":         func(b *pb.Bundle) { b.Name = "namespaces/default/policies/b/versions/9" },
		"version":      func(b *pb.Bundle) { b.Version = 2 },
		"label":        func(b *pb.Bundle) { b.Label = "1.0.0" },
		"digest":       func(b *pb.Bundle) { b.Digest = digestOf(nil) },
		"size":         func(b *pb.Bundle) { b.SizeBytes = 1 },
		"content type": func(b *pb.Bundle) { b.ContentType = "text/plain" },
		"content":      func(b *pb.Bundle) { b.Content = []byte("{}") },
		"activation":   func(b *pb.Bundle) { b.Activation = nil },
		"preview":      func(b *pb.Bundle) { b.Preview = true },
	} {
		part := s.snapshot(5, heldBefore, nil)
		change(part.Bundles[0])
		lies = append(lies, lie{"another " + name + " beside a manifest", rejected, part})
	}
	return lies
}

func liesOfActivations(s *signer) []lie {
	with := func(change func(*pb.Activation)) *pb.Activation {
		part := s.activation(5, moveOfA, heldAfter, nil)
		change(part)
		return part
	}
	elsewhere := asMessage(with(func(*pb.Activation) {}))
	elsewhere.Parent = "namespaces/other"
	hiding := s.activation(5, append(moveOfA, moveOfA...), inForce{"a": {2, 5}, "b": {1, 5}}, nil)
	hiding.Bundles[1] = s.bundle("b", 1, 5)
	removal := func(tombstone string) *pb.Activation {
		part := s.activation(5, []move{{"a", 1, 0}}, inForce{"b": {1, 3}}, nil)
		part.Tombstones = []string{tombstone}
		return part
	}
	withC := inForce{"a": {1, 2}, "b": {1, 3}, "c": {1, 4}}
	return []lie{
		{"a message about another namespace", rejected, elsewhere},
		{"an activation from another version", diverged, s.activation(5, []move{{"a", 3, 2}}, heldAfter, nil)},
		{"an activation without a root", rejected, s.activation(5, moveOfA, heldAfter, says{"active_set_root": nil})},
		{"an activation to another set", diverged, s.activation(5, moveOfA, heldBefore, nil)},
		{"an activation at the position that is held", diverged, s.activation(4, []move{{"c", 0, 1}}, withC, nil)},
		{"an activation that states a change twice and hides another", rejected, hiding},
		{"an activation without its bundle", rejected, with(func(part *pb.Activation) { part.Bundles = nil })},
		{"an activation with one bundle more", rejected, with(func(part *pb.Activation) {
			part.Bundles = append(part.Bundles, s.bundle("b", 1, 5))
		})},
		{"an activation with a bundle of another one", rejected, with(func(part *pb.Activation) { part.Bundles[0].Activation = cursorAt(4) })},
		{"an activation with another version than it states", rejected, with(func(part *pb.Activation) { part.Bundles[0] = s.bundle("a", 3, 5) })},
		{"an activation without a cursor", rejected, with(func(part *pb.Activation) { part.Cursor = nil })},
		{"an activation with another cursor", rejected, with(func(part *pb.Activation) { part.Cursor = cursorAt(6) })},
		{"a tombstone of another namespace", rejected, removal("namespaces/other/policies/a")},
		{"a tombstone of no namespace", rejected, removal("a")},
	}
}

func liesOfCheckpoints(s *signer) []lie {
	ofOldEpoch := s.heartbeat(5, heldBefore, says{"epoch": 0})
	ofOldEpoch.Cursor.Epoch = 0
	return []lie{
		{"a checkpoint of another store", diverged, s.heartbeat(5, heldBefore, says{"store": otherStore})},
		{"a checkpoint of no store", rejected, s.heartbeat(5, heldBefore, says{"store": ""})},
		{"a checkpoint of another namespace", rejected, s.heartbeat(5, heldBefore, says{"namespace": "other"})},
		{"a checkpoint of more than 15 minutes", rejected, s.heartbeat(5, heldBefore, says{"exp": 1_901})},
		{"a checkpoint that lives for ever", rejected, s.heartbeat(5, heldBefore, says{"iat": int64(-1) << 63, "exp": int64(1)<<62 + 1})},
		{"a checkpoint of another set", diverged, s.heartbeat(5, heldAfter, nil)},
		{"a checkpoint of an older epoch", diverged, ofOldEpoch},
		{"a snapshot below what is held", diverged, s.snapshot(3, heldBefore, nil)},
	}
}

func TestLies(t *testing.T) {
	s := newSigner(t)
	lies := append(append(liesBeside(s), liesOfActivations(s)...), liesOfCheckpoints(s)...)
	for _, each := range lies {
		found := verdict(t, holding(t, s), each.message)
		expect(t, found == each.state, "%s: %q instead of %s", each.name, found, each.state)
	}
	sayChecked("%d lies of a signer are refused", len(lies))
}

func TestFreshness(t *testing.T) {
	s := newSigner(t)
	held := holding(t, s)
	until := held.freshness.until
	isTaken := verdict(t, held, s.activation(5, moveOfA, heldAfter, nil)) == ""
	expect(t, isTaken && held.freshness.until == until, "an activation moves the time")
	expect(t, verdict(t, held, s.heartbeat(6, heldAfter, says{"iat": 100, "exp": 900})) == "", "a checkpoint that has expired is refused")
	expect(t, held.isFresh(rulesNow) && held.position.revision == 6, "a checkpoint that has expired ends freshness, or moves nothing")
	expect(t, verdict(t, held, s.heartbeat(7, heldAfter, says{"iat": 1_062, "exp": 1_900})) == "", "a checkpoint from the future is refused")
	expect(t, !held.isFresh(rulesNow) && held.position.revision == 7, "a checkpoint from the future leaves it fresh, or moves nothing")
	isTaken = verdict(t, held, s.heartbeat(7, heldAfter, says{"iat": 1_061})) == ""
	expect(t, isTaken && held.isFresh(rulesNow), "a minute is too far ahead")
	expect(t, verdict(t, held, s.heartbeat(8, heldBefore, nil)) == diverged && !held.isFresh(rulesNow), "a gap leaves it fresh")
	held.beginStream()
	for _, each := range []*activeSet{held, holding(t, s)} {
		isTaken := verdict(t, each, s.snapshot(8, heldBefore, says{"iat": 100, "exp": 900})) == ""
		expect(t, isTaken && !each.isFresh(rulesNow), "an expired snapshot is fresh")
	}
}

// A position that was verified in a refused message is the oldest that is accepted from then on.
func TestMark(t *testing.T) {
	s := newSigner(t)
	held := holding(t, s)
	withoutRoot := s.activation(5, moveOfA, heldAfter, says{"active_set_root": nil})
	expect(t, verdict(t, held, withoutRoot) == rejected, "taken without a root")
	held.beginStream()
	expect(t, verdict(t, held, s.snapshot(4, heldBefore, nil)) == diverged, "what is below the mark is taken")
	held.beginStream()
	isTaken := verdict(t, held, s.snapshot(5, heldAfter, nil)) == ""
	expect(t, isTaken && held.position.revision == 5, "an honest snapshot does not repair it")
}

// A refused copy from another store does not bind an empty set to that store.
func TestStore(t *testing.T) {
	s := newSigner(t)
	held := newHeld(s, "")
	copied := s.snapshot(9, heldBefore, says{"store": otherStore})
	copied.Bundles = nil
	expect(t, verdict(t, held, copied) == diverged, "a set of another store is taken without its policies")
	held.beginStream()
	isTaken := verdict(t, held, s.snapshot(4, heldBefore, nil)) == ""
	expect(t, isTaken && held.trust.store == signerStore, "the first store does not repair it")
	known := newHeld(s, otherStore)
	expect(t, verdict(t, known, s.snapshot(4, heldBefore, nil)) == diverged, "another store than the one that was given is taken")
}

// A bundle outside the filter is refused as such, also with a valid proof for the filter.
func TestFilter(t *testing.T) {
	s := newSigner(t)
	filtered := func(more ...*pb.Bundle) string {
		part := s.snapshot(4, inForce{"a": {1, 2}}, nil)
		part.Bundles = append(part.Bundles, more...)
		part.SetProof = proofOfOne("a", 1, 2)
		return verdict(t, newHeld(s, "", "a"), part)
	}
	expect(t, filtered() == "", "a true proof of one policy is refused")
	expect(t, filtered(s.bundle("b", 1, 3)) == rejected, "a bundle that was not asked for is taken")
}

// No later statement reactivates a revoked key, so such a statement is refused; and a new file takes precedence over
// followed statements.
func TestRevokedKeys(t *testing.T) {
	s := newSigner(t)
	jwks := load[struct{ Keys []says }](t, "jwks.json").Keys
	asFile := func(keys ...says) keySet {
		data, _ := json.Marshal(says{"keys": keys})
		return mustKeys(t, data)
	}
	pinned := newPinnedKeys(asFile(jwks[0]), nil, "")
	take := func(serial int, states ...string) string {
		var keys []says
		for index, state := range states {
			keys = append(keys, says{"kid": jwks[index]["kid"], "state": state, "jwk": jwks[index]})
		}
		_, err := pinned.take(s.document("keys", says{"epoch": 1, "serial": serial, "keys": keys, "prev": nil}), "")
		return why(t, err)
	}
	second := jwks[1]["kid"].(string)
	expect(t, take(1, "ACTIVE", "REVOKED") == "", "a true key statement is refused")
	expect(t, take(2, "RETIRED", "ACTIVE") != "", "a key statement makes a revoked key the active one")
	expect(t, take(3, "ACTIVE", "PREPARED") == "" && pinned.trusted()[second] == nil, "a revoked key is trusted again")
	restored := newPinnedKeys(asFile(jwks[0], jwks[2]), pinned.saved(), "")
	expect(t, restored.position() == position{} && len(restored.trusted()) == 2, "statements outlive the file that they led on from")
	pinned.replace(asFile(jwks[2]))
	expect(t, len(pinned.trusted()) == 1 && len(pinned.saved().Dropped) == 2, "a new file does not end the trust in the keys before it")
}
