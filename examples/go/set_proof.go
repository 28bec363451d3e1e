// Proofs of which policies of a filter are in force, under the root of an active set. docs/signed-documents.md has the
// exact bytes.
//
// No I/O and no clock.

package main

import "sort"

const (
	setProofMaxBytes = 512 * 1024
	setProofPartsMax = 128 * 1024
	keyBits          = 256
)

// verifySetProof refuses unless, of the requested policies, exactly the claimed ones are in force under this root.
// Diverged: the proof is valid, and proves something else.
func verifySetProof(proof []byte, root hash, policies map[string]bool, claimed map[string]leaf) error {
	if len(proof) > setProofMaxBytes {
		return refuse("proof is too large")
	}
	reader := proofReader{rest: proof, proven: map[string]hash{}}
	var asked []askedKey
	for policy := range policies {
		asked = append(asked, askedKey{policy, keyOf(policy)})
	}
	found, err := reader.subtree(asked)
	switch {
	case err != nil:
		return err
	case len(reader.rest) > 0:
		return refuse("proof has bytes after its end")
	case found.hash != root:
		return refuse("proof is of another root")
	}
	return compareProven(reader.proven, policies, claimed)
}

func compareProven(proven map[string]hash, policies map[string]bool, claimed map[string]leaf) error {
	for _, policy := range sortedKeys(claimed) {
		value, isActive := proven[policy]
		switch {
		case !policies[policy]:
			return diverge("policy %s is claimed and not in the filter", policy)
		case !isActive:
			return diverge("policy %s is claimed and not active", policy)
		case value != valueOf(policy, claimed[policy]):
			return diverge("policy %s is active otherwise than claimed", policy)
		}
	}
	for _, policy := range sortedKeys(proven) {
		if _, isClaimed := claimed[policy]; !isClaimed {
			return diverge("policy %s is active and not claimed", policy)
		}
	}
	return nil
}

// sortedKeys returns the keys in their byte order.
func sortedKeys[V any](of map[string]V) []string {
	keys := make([]string, 0, len(of))
	for key := range of {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

type askedKey struct {
	policy string
	key    hash
}

type subtree struct {
	hash hash
	// isLone: it visibly holds one leaf at most.
	isLone bool
}

// proofReader reads a proof from its root on, and keeps the values of the policies that are in force.
type proofReader struct {
	rest   []byte
	proven map[string]hash
	// path has the bits that lead to the current part.
	path  []byte
	parts int
}

func (r *proofReader) take(length int) ([]byte, error) {
	if length > len(r.rest) {
		return nil, refuse("proof is truncated")
	}
	taken := r.rest[:length]
	r.rest = r.rest[length:]
	return taken, nil
}

func (r *proofReader) takeHash() (taken hash, err error) {
	data, err := r.take(len(taken))
	copy(taken[:], data)
	return taken, err
}

// subtree reads the next part. asked are the requested policies whose keys lead here.
func (r *proofReader) subtree(asked []askedKey) (subtree, error) {
	if r.parts++; r.parts > setProofPartsMax {
		return subtree{}, refuse("proof has too many parts")
	}
	kind, err := r.take(1)
	if err != nil {
		return subtree{}, err
	}
	switch kind[0] {
	case 0:
		return subtree{isLone: true}, nil
	case 1:
		return r.leaf(asked)
	case 2:
		return r.hidden(asked)
	case 3:
		return r.node(asked)
	default:
		return subtree{}, refuse("proof has a part of an unknown kind")
	}
}

func (r *proofReader) leaf(asked []askedKey) (subtree, error) {
	key, err := r.takeHash()
	if err != nil {
		return subtree{}, err
	}
	value, err := r.takeHash()
	if err != nil {
		return subtree{}, err
	}
	for index, bit := range r.path {
		if bitOf(key, index) != bit {
			return subtree{}, refuse("proof has a leaf where its key does not lead")
		}
	}
	if len(asked) == 0 {
		return subtree{}, refuse("proof opens what nobody asked for")
	}
	for _, each := range asked {
		if each.key == key {
			r.proven[each.policy] = value
		}
	}
	return subtree{leafHash(key, value), true}, nil
}

// hidden reads a subtree of which only the hash is known: no requested policy may be in it.
func (r *proofReader) hidden(asked []askedKey) (subtree, error) {
	found, err := r.takeHash()
	if err != nil {
		return subtree{}, err
	}
	if found == (hash{}) {
		return subtree{}, refuse("proof has an empty subtree written as a hash")
	}
	if len(asked) > 0 {
		return subtree{}, refuse("proof hides policy %s", firstAsked(asked))
	}
	return subtree{hash: found}, nil
}

// firstAsked returns the policy with the first key.
func firstAsked(asked []askedKey) string {
	first := asked[0]
	for _, each := range asked {
		if string(each.key[:]) < string(first.key[:]) {
			first = each
		}
	}
	return first.policy
}

func (r *proofReader) node(asked []askedKey) (subtree, error) {
	depth := len(r.path)
	if depth >= keyBits { // so the recursion ends
		return subtree{}, refuse("proof is deeper than a key")
	}
	if len(asked) == 0 {
		return subtree{}, refuse("proof opens what nobody asked for")
	}
	var sides [2][]askedKey
	for _, each := range asked {
		bit := bitOf(each.key, depth)
		sides[bit] = append(sides[bit], each)
	}
	var found [2]subtree
	for side := range sides {
		r.path = append(r.path, byte(side))
		child, err := r.subtree(sides[side])
		if err != nil {
			return subtree{}, err
		}
		found[side] = child
		r.path = r.path[:depth]
	}
	left, right := found[0], found[1]
	if (left.hash == hash{} && right.isLone) || (right.hash == hash{} && left.isLone) {
		return subtree{}, refuse("proof has a node with fewer than two leaves")
	}
	return subtree{hash: nodeHash(left.hash, right.hash)}, nil
}
