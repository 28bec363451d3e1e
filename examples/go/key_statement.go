// The content of a key statement. The rules by which it is accepted are in pinned_keys.go.
//
// No I/O and no clock.

package main

const (
	statedKeysMax  = 20
	revokedKeysMax = 200
)

// statedKey is a key of a statement. A revoked one may come without the key itself.
type statedKey struct {
	kid   string
	state string
	key   *verifyKey
}

// keyStatement is a verified statement. position is its epoch and serial.
type keyStatement struct {
	store    string
	position position
	payload  []byte
	keys     []statedKey
	active   string
	signer   string
}

func isKeyState(state string) bool {
	return state == "PREPARED" || state == "ACTIVE" || state == "RETIRED" || state == "REVOKED"
}

func readKeyStatement(token string, keys keySet) (*keyStatement, error) {
	payload, err := verifiedPayload(token, "policyhub-keys+jws", keys)
	if err != nil {
		return nil, err
	}
	object, err := readObject(payload)
	if err != nil {
		return nil, err
	}
	m := newMembers(object, "a key statement")
	m.time("iat")
	m.optionalText("prev", isDigest)
	found := &keyStatement{
		store: m.text("store", isNotEmpty), position: position{m.whole("epoch", 0), m.whole("serial", 1)}, payload: payload,
		signer: signerOf(token),
	}
	seen := map[string]bool{}
	count := map[string]int{}
	for _, value := range m.list("keys") {
		stated := readStatedKey(m, value)
		m.ensure(!seen[stated.kid], "a key statement has a key twice")
		seen[stated.kid] = true
		count[stated.state]++
		if stated.state == "ACTIVE" {
			found.active = stated.kid
		}
		found.keys = append(found.keys, stated)
	}
	isBounded := count["REVOKED"] <= revokedKeysMax && len(found.keys)-count["REVOKED"] <= statedKeysMax
	m.ensure(isBounded, "a key statement has too many keys")
	m.ensure(count["ACTIVE"] == 1, "a key statement has not exactly one active key")
	return found, m.err
}

func readStatedKey(m *members, value any) statedKey {
	stated := newMembers(value, "a key of a statement")
	found := statedKey{kid: stated.text("kid", isAny), state: stated.text("state", isKeyState)}
	for _, name := range []string{"prepare_time", "activate_time", "retire_time", "revoke_time"} {
		if stated.has(name) {
			stated.time(name)
		}
	}
	if stated.has("jwk") {
		key, err := readJwk(stated.object["jwk"])
		stated.ensure(err == nil, "%v", err)
		found.key = key
	}
	stated.ensure(found.key != nil || found.state == "REVOKED", "a key of a statement has no jwk")
	stated.ensure(found.key == nil || found.key.kid == found.kid, "a key's id is not its thumbprint")
	m.ensure(stated.err == nil, "%v", stated.err)
	return found
}
