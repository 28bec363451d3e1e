// The file of pinned keys, read again when it changes. A half-written or missing file changes nothing.

package main

import (
	"bytes"
	"fmt"
	"os"
)

type keyFile struct {
	path string
	keys keySet
	seen []byte
}

// openKeyFile reads the file. An unusable file is an error, so that a mistake at the start ends the program.
func openKeyFile(path string) (*keyFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := readPins(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &keyFile{path, keys, data}, nil
}

// look reads the file again. True: held follows other keys now, and the statements that follow them come only with the
// next stream. The file is small, so it is read for each message.
func (f *keyFile) look(held *activeSet, say func(string)) bool {
	data, err := os.ReadFile(f.path)
	if err == nil {
		if bytes.Equal(data, f.seen) {
			return false
		}
		f.seen = data
		var keys keySet
		if keys, err = readPins(data); err == nil {
			if isSameKeys(keys, sortedKeys(f.keys)) {
				return false
			}
			f.keys = keys
		}
	}
	if err != nil {
		say(fmt.Sprintf("the keys of %s are not used: %v; those read before stand", f.path, err))
		return false
	}
	held.trust.keys = f.keys
	if held.pinned != nil {
		held.pinned.replace(f.keys)
		held.trust.keys = held.pinned.trusted()
	}
	say(fmt.Sprintf("the pinned keys changed: %d are trusted", len(held.trust.keys)))
	return held.pinned != nil
}

func readPins(data []byte) (keySet, error) {
	keys, err := readKeys(data)
	if err == nil && len(keys) == 0 {
		err = refuse("it has no keys")
	}
	return keys, err
}
