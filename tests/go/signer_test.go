// Honest messages of a small history, signed by a public test key of the vectors; and lies that need a signature.

package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	pb "policyhub/v1"
)

const (
	signerStore = "0198a0c2-0000-7000-8000-000000000001"
	otherStore  = "0198a0c2-0000-7000-8000-000000000002"
)

// says contains members of a payload that replace the usual ones.
type says map[string]any

// inForce has the version of a policy and the revision of its activation.
type inForce map[string][2]int64

type signer struct {
	keys keySet
	key  ed25519.PrivateKey
	kid  string
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	block, _ := pem.Decode(readVector(t, "keys", "ed25519-v1.pem"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	expect(t, err == nil, "%v", err)
	s := &signer{keys: mustKeys(t, readVector(t, "jwks.json")), key: key.(ed25519.PrivateKey)}
	for _, each := range s.keys {
		if s.key.Public().(ed25519.PublicKey).Equal(each.ed25519) {
			s.kid = each.kid
		}
	}
	return s
}

// header returns the bytes of a header, with this many spaces before them.
func (s *signer) header(typ string, spaces int) string {
	return strings.Repeat(" ", spaces) + fmt.Sprintf(`{"alg":"EdDSA","kid":"%s","typ":"%s"}`, s.kid, typ)
}

func (s *signer) token(header, payload string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(signed)))
}

func (s *signer) document(kind string, payloads ...says) string {
	all := says{"store": signerStore, "namespace": "default", "iat": 1_000}
	for _, payload := range payloads {
		for name, value := range payload {
			all[name] = value
		}
	}
	payload, _ := json.Marshal(all)
	return s.token(s.header("policyhub-"+kind+"+jws", 0), string(payload))
}

func contentOf(policy string, version int64) []byte {
	return []byte(fmt.Sprintf(`{"policy":"%s","version":%d}`, policy, version))
}

func (s *signer) bundle(policy string, version, revision int64) *pb.Bundle {
	content := contentOf(policy, version)
	digest, size := digestOf(content), int64(len(content))
	return &pb.Bundle{
		Name: fmt.Sprintf("namespaces/default/policies/%s/versions/%d", policy, version), Version: version, Digest: digest, SizeBytes: size,
		ContentType: "application/json", Content: content, Activation: cursorAt(revision),
		Manifest: s.document("bundle", says{
			"policy": policy, "version": version, "digest": digest, "size": size, "content_type": "application/json", "author": "a",
			"publisher": "p",
		}),
	}
}

func cursorAt(revision int64) *pb.Cursor { return &pb.Cursor{Epoch: 1, Revision: revision} }

func leavesAt(held inForce) map[string]leaf {
	leaves := map[string]leaf{}
	for policy, at := range held {
		leaves[policy] = leaf{at[0], digestOf(contentOf(policy, at[0])), position{1, at[1]}}
	}
	return leaves
}

func rootOf(held inForce) string {
	root := activeSetRoot(leavesAt(held))
	return hex.EncodeToString(root[:])
}

func (s *signer) checkpoint(revision int64, held inForce, other says) string {
	return s.document("checkpoint", says{
		"epoch": 1, "revision": revision, "head_hash": strings.Repeat("0", 63) + "1", "active_set_root": rootOf(held), "exp": 1_900,
	}, other)
}

func (s *signer) snapshot(revision int64, held inForce, other says) *pb.Snapshot {
	part := &pb.Snapshot{Complete: true, Cursor: cursorAt(revision), Checkpoint: s.checkpoint(revision, held, other)}
	for _, policy := range sortedKeys(held) {
		part.Bundles = append(part.Bundles, s.bundle(policy, held[policy][0], held[policy][1]))
	}
	return part
}

func (s *signer) heartbeat(revision int64, held inForce, other says) *pb.Heartbeat {
	return &pb.Heartbeat{Cursor: cursorAt(revision), Checkpoint: s.checkpoint(revision, held, other)}
}

// proofOfOne returns a proof for a set of one policy that this one is in force.
func proofOfOne(policy string, version, revision int64) []byte {
	key, value := keyOf(policy), valueOf(policy, leavesAt(inForce{policy: {version, revision}})[policy])
	return append(append([]byte{1}, key[:]...), value[:]...)
}

// move is policy, version before and version after.
type move struct {
	policy   string
	from, to int64
}

// activation returns the activation that leads to the set `after`.
func (s *signer) activation(revision int64, moves []move, after inForce, other says) *pb.Activation {
	part := &pb.Activation{Cursor: cursorAt(revision), Complete: true}
	var changes []says
	for _, each := range moves {
		change := says{"policy": each.policy, "version": each.to, "previous": each.from}
		if each.to > 0 {
			change["digest"] = digestOf(contentOf(each.policy, each.to))
			part.Bundles = append(part.Bundles, s.bundle(each.policy, each.to, revision))
		} else {
			part.Tombstones = append(part.Tombstones, "namespaces/default/policies/"+each.policy)
		}
		changes = append(changes, change)
	}
	part.Statement = s.document("activation", says{
		"epoch": 1, "revision": revision, "kind": "ACTIVATE", "changes": changes, "actor": "local:admin",
		"reason_digest": digestOf(nil), "prev": strings.Repeat("0", 64), "active_set_root": rootOf(after),
	}, other)
	return part
}

// asMessage wraps one kind of message.
func asMessage(kind any) *pb.WatchActiveResponse {
	message := &pb.WatchActiveResponse{Parent: "namespaces/default"}
	switch kind := kind.(type) {
	case *pb.Snapshot:
		message.Message = &pb.WatchActiveResponse_Snapshot{Snapshot: kind}
	case *pb.Activation:
		message.Message = &pb.WatchActiveResponse_Activation{Activation: kind}
	case *pb.Heartbeat:
		message.Message = &pb.WatchActiveResponse_Heartbeat{Heartbeat: kind}
	}
	return message
}
