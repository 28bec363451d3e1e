// Pinned keys that follow the key statements of their store, as KeyStatement in sync_service.proto says.
//
// No I/O and no clock. Invariants: a key is trusted because it is in the file, or by a statement that a trusted key
// signed; a key that is no longer trusted is trusted again only by a file.

package main

import "bytes"

const chainMax = 32

// savedPins is what is kept over restarts. The statements are verified again when it is read back.
type savedPins struct {
	Pins       []string `json:"pins"`
	Dropped    []string `json:"dropped"`
	Revoked    []string `json:"revoked"`
	Statements []string `json:"statements"`
}

// pinnedKeys holds the keys of a file, and the changes by statements.
type pinnedKeys struct {
	pins keySet
	// dropped are keys that an earlier file had, or a statement had revoked, and that the newest file does not have.
	dropped map[string]bool
	revoked map[string]bool
	newest  *keyStatement
	// chain has the newest statement of each key that signed one, oldest first: it leads from the pins to the newest
	// statement.
	chain []chainLink
}

type chainLink struct{ signer, token string }

// newPinnedKeys continues from what was saved, unless the file has other keys by now, which then take precedence.
// store: as in take.
func newPinnedKeys(pins keySet, saved *savedPins, store string) *pinnedKeys {
	p := &pinnedKeys{pins: pins, dropped: map[string]bool{}, revoked: map[string]bool{}}
	if saved == nil {
		return p
	}
	p.drop(saved.Dropped)
	if !isSameKeys(pins, saved.Pins) {
		p.drop(saved.Pins)
		p.drop(saved.Revoked)
		return p
	}
	for _, statement := range saved.Statements {
		if _, err := p.takeOver(statement, store, true); err != nil {
			break // the server sends them all again
		}
	}
	return p
}

func (p *pinnedKeys) saved() *savedPins {
	saved := &savedPins{sortedKeys(p.pins), sortedKeys(p.dropped), sortedKeys(p.revoked), []string{}}
	for _, link := range p.chain {
		saved.Statements = append(saved.Statements, link.token)
	}
	return saved
}

func (p *pinnedKeys) trusted() keySet {
	trusted := keySet{}
	add := func(key *verifyKey) {
		if key != nil && !p.revoked[key.kid] && !p.dropped[key.kid] {
			trusted[key.kid] = key
		}
	}
	for _, key := range p.pins {
		add(key)
	}
	if p.newest != nil {
		for _, stated := range p.newest.keys {
			add(stated.key)
		}
	}
	return trusted
}

// position returns epoch and serial of the newest accepted statement; 0:0: there is none.
func (p *pinnedKeys) position() position {
	if p.newest == nil {
		return position{}
	}
	return p.newest.position
}

// replace applies a changed file, which takes precedence: no statement restores keys that it no longer has.
func (p *pinnedKeys) replace(pins keySet) {
	before := sortedKeys(p.pins)
	if isSameKeys(pins, before) {
		return
	}
	p.pins = pins
	for kid := range pins {
		delete(p.dropped, kid)
	}
	p.drop(before)
	p.drop(sortedKeys(p.revoked))
	p.forget()
}

// dropOtherStore forgets statements of another store than this one: they came before the store was known.
func (p *pinnedKeys) dropOtherStore(store string) {
	if p.newest != nil && p.newest.store != store {
		p.forget()
	}
}

// take applies a statement. True: it was accepted. False: it is not newer than the one held. An error: nothing changed.
// store is the id of the store whose documents count; empty: unknown.
func (p *pinnedKeys) take(token, store string) (bool, error) { return p.takeOver(token, store, false) }

func (p *pinnedKeys) takeOver(token, store string, wasTaken bool) (bool, error) {
	statement, err := readKeyStatement(token, p.trusted())
	if err != nil {
		return false, err
	}
	if p.newest != nil {
		store = p.newest.store
	}
	if store != "" && statement.store != store {
		return false, refuse("key statement is of another store")
	}
	if p.newest != nil {
		if statement.position == p.newest.position && !bytes.Equal(statement.payload, p.newest.payload) {
			return false, refuse("another key statement was taken under the same serial")
		}
		if !p.newest.position.isBefore(statement.position) {
			return false, nil
		}
		if statement.signer != p.newest.active {
			return false, refuse("key may not sign key statements: it is not the active one")
		}
	}
	if err := p.check(statement, wasTaken); err != nil {
		return false, err
	}
	for _, stated := range statement.keys {
		if stated.state == "REVOKED" {
			p.revoked[stated.kid] = true
		}
	}
	p.newest = statement
	p.extendChain(chainLink{statement.signer, token})
	return true, nil
}

func (p *pinnedKeys) check(statement *keyStatement, wasTaken bool) error {
	states := map[string]string{}
	for _, stated := range statement.keys {
		states[stated.kid] = stated.state
	}
	if state := states[statement.signer]; state != "ACTIVE" && state != "RETIRED" {
		return refuse("key may not sign key statements: it is not the active one")
	}
	// Otherwise an old statement could make a key trusted that no longer is.
	if p.revoked[statement.active] || p.dropped[statement.active] {
		return refuse("active key of a key statement is not trusted any more")
	}
	if p.newest != nil || wasTaken {
		return nil
	}
	// Otherwise a statement by a retired key could restore a key that was revoked before the file was made.
	for kid := range p.pins {
		if states[kid] == "" {
			return refuse("key statement does not name every pinned key")
		}
	}
	return nil
}

func (p *pinnedKeys) extendChain(last chainLink) {
	var chain []chainLink
	for _, link := range p.chain {
		if link.signer != last.signer {
			chain = append(chain, link)
		}
	}
	if len(chain) >= chainMax {
		chain = chain[1:]
	}
	p.chain = append(chain, last)
}

// drop removes these keys from the trusted ones, except those of the file.
func (p *pinnedKeys) drop(kids []string) {
	for _, kid := range kids {
		if p.pins[kid] == nil {
			p.dropped[kid] = true
		}
	}
}

func (p *pinnedKeys) forget() {
	p.newest, p.revoked, p.chain = nil, map[string]bool{}, nil
}

func isSameKeys(pins keySet, kids []string) bool {
	for _, kid := range kids {
		if pins[kid] == nil {
			return false
		}
	}
	return len(pins) == len(kids)
}
