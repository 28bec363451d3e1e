// Signatures of compact JWS, by Go's own crypto.
//
// No I/O and no clock. Invariants: a key has exactly one algorithm, whatever a header says; a payload is exactly the
// bytes that were signed.

package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
)

// The limits of the server: larger ones are never sent.
const (
	headerMaxBytes  = 8 * 1024
	payloadMaxBytes = 64 * 1024
	signatureBytes  = 64
	jwksKeysMax     = 1_000
)

// verifyKey is a public key that may be trusted. Its id is its thumbprint. It has a key of one of the two types.
type verifyKey struct {
	kid       string
	algorithm string
	ed25519   ed25519.PublicKey
	p256      *ecdsa.PublicKey
}

// keySet holds trusted keys by their ids. It is not changed after it was made.
type keySet map[string]*verifyKey

// digestOf returns a digest in the form of manifests and reports.
func digestOf(data []byte) string {
	hash := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(hash[:])
}

// readPart returns the bytes of a part of a token: base64url without padding, in its only valid form.
func readPart(part string, mostBytes int) ([]byte, error) {
	if len(part) > (mostBytes*4+2)/3 {
		return nil, refuse("token is too large")
	}
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || base64.RawURLEncoding.EncodeToString(data) != part {
		return nil, refuse("token is not base64url")
	}
	return data, nil
}

// readKeys returns the public keys of a JWK Set.
func readKeys(jwks []byte) (keySet, error) {
	object, err := readObject(jwks)
	if err != nil {
		return nil, err
	}
	listed, isList := object["keys"].([]any)
	if !isList || len(listed) > jwksKeysMax {
		return nil, refuse("not a JWK Set")
	}
	keys := keySet{}
	for _, jwk := range listed {
		key, err := readJwk(jwk)
		if err != nil {
			return nil, err
		}
		keys[key.kid] = key
	}
	return keys, nil
}

// readJwk returns one public key of a JWK Set or of a key statement.
func readJwk(value any) (*verifyKey, error) {
	jwk, isObject := value.(jsonObject)
	if !isObject {
		return nil, refuse("a key is no object")
	}
	if _, isPrivate := jwk["d"]; isPrivate {
		return nil, refuse("a key is not public")
	}
	key := &verifyKey{}
	var members string
	switch {
	case jwk["kty"] == "OKP" && jwk["crv"] == "Ed25519":
		x, err := readCoordinate(jwk["x"])
		if err != nil {
			return nil, err
		}
		key.algorithm, key.ed25519 = "EdDSA", x
		members = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, jwk["x"])
	case jwk["kty"] == "EC" && jwk["crv"] == "P-256":
		x, err := readCoordinate(jwk["x"])
		if err != nil {
			return nil, err
		}
		y, err := readCoordinate(jwk["y"])
		if err != nil {
			return nil, err
		}
		key.algorithm = "ES256"
		key.p256 = &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		if !key.p256.Curve.IsOnCurve(key.p256.X, key.p256.Y) {
			return nil, refuse("a key is no point of its curve")
		}
		members = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, jwk["x"], jwk["y"])
	default:
		return nil, refuse("a key is neither Ed25519 nor P-256")
	}
	if !isAbsentOr(jwk["alg"], key.algorithm) || !isAbsentOr(jwk["use"], "sig") {
		return nil, refuse("a key is for something else")
	}
	// RFC 7638: the id of a key is the hash of its members in this order, so it can't be chosen.
	thumbprint := sha256.Sum256([]byte(members))
	key.kid = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	if !isAbsentOr(jwk["kid"], key.kid) {
		return nil, refuse("a key's id is not its thumbprint")
	}
	return key, nil
}

func isAbsentOr(value any, expected string) bool {
	return value == nil || value == expected
}

func readCoordinate(value any) ([]byte, error) {
	text, _ := value.(string)
	data, err := readPart(text, 32)
	if err != nil || len(data) != 32 {
		return nil, refuse("a key has not 32 bytes")
	}
	return data, nil
}

// verifiedPayload returns the payload of a compact JWS with exactly this `typ`, signed by one of these keys.
func verifiedPayload(token, typ string, keys keySet) ([]byte, error) {
	payload, err := verify(token, typ, keys)
	if err != nil {
		return nil, &refusal{why: fmt.Sprintf("%s: %v", typ, err), unproven: true}
	}
	return payload, nil
}

func verify(token, typ string, keys keySet) ([]byte, error) {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return nil, refuse("token has not three parts")
	}
	header, err := readHeader(parts[0])
	if err != nil {
		return nil, err
	}
	// No other members, so that crit, b64, zip, jwk, jku, x5u and x5c need no handling.
	for name := range header {
		if name != "alg" && name != "kid" && name != "typ" {
			return nil, refuse("header has another member, %q", name)
		}
	}
	if header["typ"] != typ {
		return nil, refuse("typ is %v", header["typ"])
	}
	kid, _ := header["kid"].(string)
	key := keys[kid]
	if key == nil {
		return nil, refuse("key %q is not trusted", kid)
	}
	if header["alg"] != key.algorithm {
		return nil, refuse("alg %v is not the key's", header["alg"])
	}
	payload, err := readPart(parts[1], payloadMaxBytes)
	if err != nil {
		return nil, err
	}
	signature, err := readPart(parts[2], signatureBytes)
	if err != nil {
		return nil, err
	}
	if !key.holds([]byte(parts[0]+"."+parts[1]), signature) {
		return nil, refuse("signature does not hold")
	}
	return payload, nil
}

// holds returns whether this key made a signature over these bytes.
func (k *verifyKey) holds(signed, signature []byte) bool {
	if len(signature) != signatureBytes {
		return false
	}
	if k.ed25519 != nil {
		return ed25519.Verify(k.ed25519, signed, signature)
	}
	hash := sha256.Sum256(signed)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(k.p256, hash[:], r, s)
}

func readHeader(part string) (jsonObject, error) {
	data, err := readPart(part, headerMaxBytes)
	if err != nil {
		return nil, err
	}
	return readObject(data)
}

// signerOf returns the id of the key that signed a verified token.
func signerOf(token string) string {
	part, _, _ := strings.Cut(token, ".")
	header, _ := readHeader(part)
	kid, _ := header["kid"].(string)
	return kid
}
