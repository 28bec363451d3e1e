// Golden active sets (tests/vectors): their roots, and proofs under them.

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
)

type goldenRow struct {
	Policy          string
	Version         int64
	Digest          string
	Epoch, Revision int64
	Key, Value      string
}

type goldenProof struct {
	Name    string
	Set     string
	Filter  []string
	Claimed []goldenRow
	Proof   string
	Root    string
	Text    string
}

func asLeaves(rows []goldenRow) map[string]leaf {
	leaves := map[string]leaf{}
	for _, row := range rows {
		leaves[row.Policy] = leaf{row.Version, row.Digest, position{row.Epoch, row.Revision}}
	}
	return leaves
}

func unhex(t *testing.T, digits string) []byte {
	t.Helper()
	data, err := hex.DecodeString(digits)
	expect(t, err == nil, "%s: %v", digits, err)
	return data
}

func proofError(t *testing.T, filter []string, claimed []goldenRow, proof, root []byte) string {
	t.Helper()
	policies := map[string]bool{}
	for _, policy := range filter {
		policies[policy] = true
	}
	return why(t, verifySetProof(proof, *(*hash)(root), policies, asLeaves(claimed)))
}

func TestActiveSets(t *testing.T) {
	golden := load[struct {
		Sets []struct {
			Name, Root string
			Active     []goldenRow
		}
		Proofs, Refused []goldenProof
	}](t, "active_sets.json")
	roots := map[string][]byte{}
	for _, each := range golden.Sets {
		root := activeSetRoot(asLeaves(each.Active))
		expect(t, hex.EncodeToString(root[:]) == each.Root, "root of %s", each.Name)
		roots[each.Name] = root[:]
		for _, row := range each.Active {
			key, value := keyOf(row.Policy), valueOf(row.Policy, asLeaves([]goldenRow{row})[row.Policy])
			expect(t, hex.EncodeToString(key[:]) == row.Key && hex.EncodeToString(value[:]) == row.Value, "leaf of %s", row.Policy)
		}
	}
	refused := len(golden.Refused)
	for _, each := range golden.Proofs {
		proof := unhex(t, each.Proof)
		said := proofError(t, each.Filter, each.Claimed, proof, roots[each.Set])
		expect(t, said == "", "proof of %v in %s: %s", each.Filter, each.Set, said)
		if len(proof) > 1024 {
			continue
		}
		for _, changed := range flipped(proof) {
			said := proofError(t, each.Filter, each.Claimed, changed, roots[each.Set])
			expect(t, said != "", "a changed proof of %v in %s is taken", each.Filter, each.Set)
			refused++
		}
	}
	for _, each := range golden.Refused {
		said := proofError(t, each.Filter, each.Claimed, unhex(t, each.Proof), unhex(t, each.Root))
		expect(t, said == each.Text, "%s: %q", each.Name, said)
	}
	sayChecked("%d roots and set proofs hold, %d are refused", len(golden.Sets)+len(golden.Proofs), refused)
}

// deepest returns a proof down to the last bit of each of these keys, with an invented hash beside each leaf.
func deepest(keys []hash, depth int) []byte {
	switch {
	case len(keys) == 0 && depth == keyBits:
		return append([]byte{2}, bytes.Repeat([]byte{1}, 32)...)
	case len(keys) == 0:
		return []byte{0}
	case depth == keyBits:
		return append(append([]byte{1}, keys[0][:]...), make([]byte, 32)...)
	}
	var sides [2][]hash
	for _, key := range keys {
		sides[bitOf(key, depth)] = append(sides[bitOf(key, depth)], key)
	}
	return append(append([]byte{3}, deepest(sides[0], depth+1)...), deepest(sides[1], depth+1)...)
}

func TestBoundsOfProofs(t *testing.T) {
	var names []string
	var keys []hash
	for number := 0; number < 300; number++ {
		names = append(names, fmt.Sprintf("p%d", number))
		keys = append(keys, keyOf(names[number]))
	}
	large := deepest(keys, 0)
	expect(t, len(large) < setProofMaxBytes && 300*512 > setProofPartsMax, "the bounds moved")
	root := make([]byte, 32)
	for _, each := range []struct {
		text   string
		filter []string
		proof  []byte
	}{
		{"proof has too many parts", names, large},
		{"proof is too large", []string{"a"}, make([]byte, setProofMaxBytes+1)},
		{"proof has bytes after its end", []string{"a"}, make([]byte, setProofMaxBytes)},
	} {
		said := proofError(t, each.filter, nil, each.proof, root)
		expect(t, said == each.text, "%s: %q", each.text, said)
	}
}
