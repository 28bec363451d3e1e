// Writes a file so that after a crash it has either its old or its new content.

package main

import (
	"os"
	"path/filepath"
)

func replaceFile(path string, data []byte) error {
	draft := path + ".new"
	if err := writeSynced(draft, data); err != nil {
		return err
	}
	if err := os.Rename(draft, path); err != nil {
		return err
	}
	// The new name is durable only once its directory is flushed.
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

func writeSynced(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
