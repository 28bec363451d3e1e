// The content of each kind of signed document.
//
// No I/O and no clock.

package main

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	contentMaxBytes         = 1024 * 1024
	annotationsMax          = 64
	annotationsMaxBytes     = 4 * 1024
	annotationValueMaxBytes = 2 * 1024
	adoptedAuthorMaxBytes   = 256
	checkpointTTLSeconds    = 15 * 60
	clockSkewMaxSeconds     = 60
)

var (
	isAnnotationKey   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`).MatchString
	isAnnotationValue = regexp.MustCompile(`^[^\x00-\x08\x0b-\x1f\x7f-\x{9f}]*$`).MatchString
	isWithoutControls = regexp.MustCompile(`^[^\x00-\x1f\x7f-\x{9f}]*$`).MatchString
)

// position is the position of an event in a log. Epochs are compared first.
type position struct{ epoch, revision int64 }

func (p position) isBefore(other position) bool {
	return p.epoch < other.epoch || (p.epoch == other.epoch && p.revision < other.revision)
}

func (p position) String() string { return fmt.Sprintf("%d:%d", p.epoch, p.revision) }

// owner is the store and namespace of a document.
type owner struct{ store, namespace string }

// manifest is the signed description of a version.
type manifest struct {
	owner
	policy      string
	version     int64
	label       string
	digest      string
	size        int64
	contentType string
}

// statedChange is the change of one policy in a statement. version is in force from then on; 0: none, and then it has
// no digest.
type statedChange struct {
	policy   string
	version  int64
	digest   string
	previous int64
}

// proven is what statements and checkpoints have in common: what is in force at a position. Without a root it proves
// nothing.
type proven struct {
	owner
	position
	kind string // of evidence: statement or checkpoint
	root string
	// event is the fingerprint of the event at the position; 0: the document does not have it.
	event uint64
}

// statement is the signed description of an activation.
type statement struct {
	proven
	activation string
	actor      string
	changes    []statedChange
}

// checkpoint is the signed state at a position. Times are seconds since the Unix epoch.
type checkpoint struct {
	proven
	iat, exp int64
}

// readSigned verifies a token. An invalid payload is a refusal of signed data, too.
func readSigned(token, typ, what string, keys keySet, read func(*members)) error {
	payload, err := verifiedPayload(token, typ, keys)
	if err != nil {
		return err
	}
	object, err := readObject(payload)
	if err == nil {
		m := newMembers(object, what)
		read(m)
		err = m.err
	}
	if err != nil {
		return &refusal{why: err.Error(), unproven: true}
	}
	return nil
}

func readOwner(m *members) owner {
	m.time("iat")
	return owner{m.text("store", isNotEmpty), m.text("namespace", isID)}
}

// readManifest reads the manifest of a bundle whose content is exactly these bytes.
func readManifest(token string, content []byte, keys keySet) (manifest, error) {
	var found manifest
	err := readSigned(token, "policyhub-bundle+jws", "a manifest", keys, func(m *members) {
		found = manifest{
			owner: readOwner(m), policy: m.text("policy", isID), version: m.whole("version", 1), label: m.optionalText("label", isAny),
			digest: m.text("digest", isDigest), size: m.whole("size", 0), contentType: m.text("content_type", isAny),
		}
		m.text("author", isAny)
		m.text("publisher", isAny)
		checkAnnotations(m)
		checkAdopted(m)
		m.ensure(len(content) <= contentMaxBytes && int64(len(content)) == found.size, "content has not the signed size")
		m.ensure(digestOf(content) == found.digest, "content has not the signed digest")
	})
	return found, err
}

func checkAnnotations(m *members) {
	value, isThere := m.object["annotations"]
	if !isThere {
		return
	}
	annotations, isObject := value.(jsonObject)
	m.ensure(isObject, "annotations are no object")
	total := 0
	for key, value := range annotations {
		text, isText := value.(string)
		fits := isText && isAnnotationValue(text) && len(text) <= annotationValueMaxBytes
		m.ensure(isAnnotationKey(key) && fits, "annotation is not within its bounds")
		total += len(key) + len(text)
	}
	m.ensure(len(annotations) <= annotationsMax && total <= annotationsMaxBytes, "annotations are not within their bounds")
}

func checkAdopted(m *members) {
	if !m.has("adopted") {
		return
	}
	adopted := newMembers(m.object["adopted"], "who wrote it before")
	author := adopted.text("author", isWithoutControls)
	adopted.ensure(strings.TrimSpace(author) != "" && len(author) <= adoptedAuthorMaxBytes, "author from before is not within bounds")
	if adopted.has("create_time") {
		adopted.whole("create_time", 0)
	}
	m.ensure(adopted.err == nil, "%v", adopted.err)
}

// readStatement reads the statement of an activation.
func readStatement(token string, keys keySet) (statement, error) {
	var found statement
	err := readSigned(token, "policyhub-activation+jws", "a statement", keys, func(m *members) {
		m.text("reason_digest", isDigest)
		m.text("prev", isHash)
		found.proven = proven{
			owner: readOwner(m), position: position{m.whole("epoch", 0), m.whole("revision", 1)}, kind: "statement",
			root: m.optionalText("active_set_root", isHash),
		}
		found.activation, found.actor = m.text("kind", isAny), m.text("actor", isAny)
		for _, change := range m.list("changes") {
			found.changes = append(found.changes, readChange(m, change))
		}
	})
	return found, err
}

func readChange(m *members, value any) statedChange {
	change := newMembers(value, "a change")
	found := statedChange{
		policy: change.text("policy", isID), version: change.whole("version", 0), digest: change.optionalText("digest", isDigest),
		previous: change.whole("previous", 0),
	}
	change.ensure((found.digest == "") == (found.version == 0), "digest of a change is absent or wrong")
	m.ensure(change.err == nil, "%v", change.err)
	return found
}

// readCheckpoint reads a checkpoint of any time: an expired one still proves what was in force at its position.
func readCheckpoint(token string, keys keySet) (checkpoint, error) {
	var found checkpoint
	err := readSigned(token, "policyhub-checkpoint+jws", "a checkpoint", keys, func(m *members) {
		found = checkpoint{
			proven: proven{
				owner: readOwner(m), position: position{m.whole("epoch", 0), m.whole("revision", 0)}, kind: "checkpoint",
				root: m.text("active_set_root", isHash), event: eventOf(m.text("head_hash", isHash)),
			},
			iat: m.time("iat"), exp: m.time("exp"),
		}
		// The difference of two times may need 64 bits without a sign.
		isBounded := found.exp > found.iat && uint64(found.exp)-uint64(found.iat) <= checkpointTTLSeconds
		m.ensure(isBounded, "checkpoint has a wrong lifetime")
	})
	return found, err
}

// eventOf returns the fingerprint of a cursor: the first bytes of its event's hash.
func eventOf(hash string) uint64 {
	var event uint64
	data, _ := hex.DecodeString(hash)
	for index := 0; index < 8 && index < len(data); index++ {
		event = event<<8 | uint64(data[index])
	}
	return event
}

// whyNotFresh returns why a checkpoint does not prove that nothing is newer at now, in seconds since the Unix epoch;
// empty: it does.
func (c checkpoint) whyNotFresh(now int64) string {
	if c.isAhead(now) {
		return fmt.Sprintf("checkpoint is from the future: the server's clock is %d s ahead of this one", c.iat-now)
	}
	if now >= c.exp {
		return "checkpoint has expired"
	}
	return ""
}

// isAhead returns whether it was made by a clock that is too far ahead of this one.
func (c checkpoint) isAhead(now int64) bool { return c.iat > now+clockSkewMaxSeconds }
