// The root of an active set: a compact sparse Merkle tree over SHA-256. docs/signed-documents.md has the exact bytes.
//
// No I/O and no clock.

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"sort"
)

// hash is a root, or a part from which one is computed. The zero value is the root of an empty set.
type hash [sha256.Size]byte

// leaf is what a root covers of a policy in force. since is its activation.
type leaf struct {
	version int64
	digest  string
	since   position
}

func keyOf(policy string) hash { return sha256.Sum256([]byte(policy)) }

// valueOf returns the value of a leaf.
func valueOf(policy string, of leaf) hash {
	var data []byte
	text := func(text string) {
		data = binary.BigEndian.AppendUint32(data, uint32(len(text)))
		data = append(data, text...)
	}
	text("policyhub-active-policy-v1")
	text(policy)
	// A position beside a bundle is not yet verified and may be negative. Then it is just a different value.
	data = binary.BigEndian.AppendUint64(data, uint64(of.version))
	text(of.digest)
	data = binary.BigEndian.AppendUint64(data, uint64(of.since.epoch))
	data = binary.BigEndian.AppendUint64(data, uint64(of.since.revision))
	return sha256.Sum256(data)
}

func leafHash(key, value hash) hash { return join(0, key, value) }

func nodeHash(left, right hash) hash { return join(1, left, right) }

func join(kind byte, first, second hash) hash {
	data := append([]byte{kind}, first[:]...)
	return sha256.Sum256(append(data, second[:]...))
}

// bitOf returns a bit of a key: 0 is the first one.
func bitOf(key hash, index int) byte { return key[index>>3] >> (7 - index&7) & 1 }

// activeSetRoot returns the root of these policies.
func activeSetRoot(active map[string]leaf) hash {
	type hashed struct{ key, hash hash }
	leaves := make([]hashed, 0, len(active))
	for policy, each := range active {
		key := keyOf(policy)
		leaves = append(leaves, hashed{key, leafHash(key, valueOf(policy, each))})
	}
	sort.Slice(leaves, func(a, b int) bool { return bytes.Compare(leaves[a].key[:], leaves[b].key[:]) < 0 })
	var rootOf func(part []hashed, depth int) hash
	rootOf = func(part []hashed, depth int) hash {
		if len(part) == 0 {
			return hash{}
		}
		if len(part) == 1 {
			return part[0].hash
		}
		middle := sort.Search(len(part), func(index int) bool { return bitOf(part[index].key, depth) == 1 })
		return nodeHash(rootOf(part[:middle], depth+1), rootOf(part[middle:], depth+1))
	}
	return rootOf(leaves, 0)
}
