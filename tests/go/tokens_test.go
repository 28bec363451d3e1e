// Golden tokens (tests/vectors): those to accept, those to refuse, and key statements.

package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

type goldenToken struct {
	Name     string
	Typ      string
	Token    string
	Payload  string
	Content  *string
	Verifier string
	Now      int64
}

// flippedTokens returns copies of a token, each with one bit of a part flipped.
func flippedTokens(t *testing.T, token string) []string {
	t.Helper()
	parts := strings.Split(token, ".")
	var all []string
	for index, part := range parts {
		data, err := base64.RawURLEncoding.DecodeString(part)
		expect(t, err == nil, "%s: %v", token, err)
		for _, changed := range flipped(data) {
			copied := append([]string(nil), parts...)
			copied[index] = base64.RawURLEncoding.EncodeToString(changed)
			all = append(all, strings.Join(copied, "."))
		}
	}
	return all
}

func readFreshCheckpoint(token string, keys keySet, now int64) error {
	found, err := readCheckpoint(token, keys)
	if err == nil && found.whyNotFresh(now) != "" {
		err = refuse("%s", found.whyNotFresh(now))
	}
	return err
}

func TestAcceptedTokens(t *testing.T) {
	keys := mustKeys(t, readVector(t, "jwks.json"))
	for _, jwk := range load[struct{ Keys []struct{ Kid string } }](t, "jwks.json").Keys {
		expect(t, keys[jwk.Kid] != nil, "thumbprint of %s", jwk.Kid)
	}
	golden := load[struct {
		Now    int64
		Tokens []goldenToken
	}](t, "accepted.json")
	types, count := map[string]bool{}, 0
	for _, each := range golden.Tokens {
		types[each.Typ] = true
		payload, err := verifiedPayload(each.Token, each.Typ, keys)
		expect(t, err == nil && string(payload) == each.Payload, "%s: payload: %v", each.Name, err)
		switch {
		case each.Content != nil && each.Typ == "policyhub-bundle+jws":
			_, err = readManifest(each.Token, []byte(*each.Content), keys)
		case each.Typ == "policyhub-activation+jws":
			_, err = readStatement(each.Token, keys)
		case each.Typ == "policyhub-checkpoint+jws":
			err = readFreshCheckpoint(each.Token, keys, golden.Now)
		}
		expect(t, err == nil, "%s: %v", each.Name, err)
		for _, changed := range flippedTokens(t, each.Token) {
			_, err := verifiedPayload(changed, each.Typ, keys)
			expect(t, why(t, err) != "", "%s: a flipped bit verifies: %s", each.Name, changed)
			count++
		}
	}
	expect(t, len(types) == 4 && count > 0, "not every typ was checked")
	sayChecked("%d tokens verify, %d flipped bits are refused", len(golden.Tokens), count)
}

func TestRefusedTokens(t *testing.T) {
	keys := mustKeys(t, readVector(t, "jwks.json"))
	tokens := load[struct{ Tokens []goldenToken }](t, "refused.json").Tokens
	for _, each := range tokens {
		var err error
		switch each.Verifier {
		case "bundle":
			content := ""
			if each.Content != nil {
				content = *each.Content
			}
			_, err = readManifest(each.Token, []byte(content), keys)
		case "statement":
			_, err = readStatement(each.Token, keys)
		default:
			err = readFreshCheckpoint(each.Token, keys, each.Now)
		}
		expect(t, why(t, err) != "", "%s is taken", each.Name)
	}
	sayChecked("%d tokens are refused", len(tokens))
}

type keyCase struct {
	Name    string
	Pins    json.RawMessage
	Store   string
	Steps   []struct{ Statement, Becomes string }
	Trusted []string
	Revoked []string
}

// becomes applies a statement and returns the result.
func becomes(t *testing.T, pinned *pinnedKeys, statement, store string) string {
	t.Helper()
	isTaken, err := pinned.take(statement, store)
	switch {
	case why(t, err) != "":
		return "Refused"
	case isTaken:
		return "Taken"
	default:
		return "Ignored"
	}
}

func TestKeyStatements(t *testing.T) {
	golden := load[struct{ Followed, Forged, Malformed []keyCase }](t, "key_statements.json")
	count := map[bool]int{}
	for _, each := range append(append(golden.Followed, golden.Forged...), golden.Malformed...) {
		keys := mustKeys(t, each.Pins)
		pinned, restored := newPinnedKeys(keys, nil, ""), newPinnedKeys(keys, nil, "")
		for _, step := range each.Steps {
			isTaken := step.Becomes == "Taken" || step.Becomes == "Ignored"
			expected := map[bool]string{true: step.Becomes, false: "Refused"}[isTaken]
			found := becomes(t, pinned, step.Statement, each.Store)
			expect(t, found == expected, "%s: a statement is %s", each.Name, found)
			count[isTaken]++
			restored = newPinnedKeys(keys, restored.saved(), each.Store)
			becomes(t, restored, step.Statement, each.Store)
		}
		trusted := strings.Join(sortedKeys(pinned.trusted()), " ")
		expect(t, trusted == strings.Join(each.Trusted, " "), "%s: trusts %s", each.Name, trusted)
		expect(t, strings.Join(pinned.saved().Revoked, " ") == strings.Join(each.Revoked, " "), "%s: others are revoked", each.Name)
		expect(t, strings.Join(sortedKeys(restored.trusted()), " ") == trusted, "%s: trusts others after restarts", each.Name)
	}
	first := golden.Followed[0]
	for _, changed := range flippedTokens(t, first.Steps[0].Statement) {
		pinned := newPinnedKeys(mustKeys(t, first.Pins), nil, "")
		expect(t, becomes(t, pinned, changed, "") == "Refused", "a key statement with a flipped bit is taken")
		count[false]++
	}
	expect(t, count[true] > 0 && count[false] > 0, "no key statement was checked")
	sayChecked("%d key statements are followed, %d are refused", count[true], count[false])
}
