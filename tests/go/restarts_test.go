// What a subscriber keeps over restarts, and what happens when it was edited.

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// playTo plays streams to a subscriber with a directory, until a stream after the last of them is requested.
func playTo(s *stage, each streamCase, directory string, scripts ...[]string) *player {
	s.t.Helper()
	p := s.player(each.Clock, each.Filter, directory)
	isLast, last := isOver()
	var all [][]step
	for _, names := range scripts {
		all = append(all, s.steps(names...))
	}
	s.hub.play(append(all, last)...)
	p.until("all of it was played", isLast)
	return p
}

// wholeOf returns the names of the messages of a case's first stream.
func wholeOf(each streamCase) []string {
	names := append([]string(nil), each.Before...)
	for _, lie := range each.Lie {
		names = append(names, lie...)
	}
	return names
}

const notUsed = "the saved set is not used: "

// olderStream is honest, and at an earlier position than the end of the vectors.
var olderStream = []string{"opened", "keys.1", "all.snapshot.p3", "all.heartbeat.p3"}

// It restarts with the set, the fingerprint of its event, and the keys that statements brought.
func TestResume(t *testing.T) {
	s := newStage(t)
	for _, name := range []string{wholeHistory, "a history of one policy"} {
		each, directory := s.caseOf(name), t.TempDir()
		before := playTo(s, each, directory, wholeOf(each))
		after := playTo(s, each, directory)
		expect(t, !after.saysThat(notUsed) && after.holds() == before.holds(), "%s: holds %s: %s", name, after.holds(), after.talk())
		asked := s.hub.askedSoFar()[0]
		resume := asked.Targets[0].Resume
		isSame := resume != nil && positionOf(resume) == *before.subscriber.held.position && resume.Fingerprint == before.subscriber.held.event
		expect(t, isSame && resume.Fingerprint != 0, "%s: resumes at %v", name, resume)
		isSame = positionOf(asked.KeyCursor) == before.subscriber.held.pinned.position() && asked.KeyCursor.Revision > 0
		expect(t, isSame, "%s: asks for key statements after %v", name, asked.KeyCursor)
		expect(t, after.subscriber.state() == stale, "%s: nothing proves after a restart that it is the newest", name)
	}
}

// A position that was verified and refused is the oldest that is accepted, also after a restart.
func TestSavedMark(t *testing.T) {
	s := newStage(t)
	each, directory := s.caseOf("of a later set, on each stream"), t.TempDir()
	playTo(s, each, directory, wholeOf(each))
	after := playTo(s, each, directory, olderStream)
	expect(t, !after.saysThat(notUsed) && after.holds() == s.setAt("p3", nil), "holds %s", after.holds())
	expect(t, s.hub.askedSoFar()[0].Targets[0].Resume == nil, "resumes below what verified")
	expect(t, after.refused() == 1 && after.subscriber.state() == diverged, "takes an older set: %s", after.talk())
}

// An edited content is detected and the set is not used; the mark stays.
func TestDamage(t *testing.T) {
	s := newStage(t)
	each, directory := s.caseOf(wholeHistory), t.TempDir()
	playTo(s, each, directory, wholeOf(each))
	contents, err := os.ReadDir(filepath.Join(directory, "contents"))
	expect(t, err == nil && len(contents) > 0, "no content is kept: %v", err)
	err = os.WriteFile(filepath.Join(directory, "contents", contents[0].Name()), []byte("changed"), 0o600)
	expect(t, err == nil, "%v", err)
	damaged := playTo(s, each, directory, olderStream, each.Repair)
	expect(t, damaged.saysThat(notUsed) && damaged.refused() == 1, "a changed content: %s", damaged.talk())
	expect(t, s.hub.askedSoFar()[0].Targets[0].Resume == nil, "a changed content: resumes without a set")
	again := playTo(s, each, directory)
	isWhole := !again.saysThat(notUsed) && again.holds() == s.setAt("p7", nil)
	expect(t, isWhole, "a changed content is not written again: %s", again.talk())
}

// A directory of other policies, of another namespace, or with unreadable files.
func TestOtherDirectories(t *testing.T) {
	s := newStage(t)
	each, directory := s.caseOf(wholeHistory), t.TempDir()
	playTo(s, each, directory, wholeOf(each))
	other := s.player(each.Clock, []string{"a"}, directory)
	held := other.subscriber.held
	expect(t, other.saysThat("other policies") && other.holds() == "nothing", "a set of other policies is used")
	expect(t, strings.HasPrefix(s.setAt("p7", nil), held.newestVerified.String()+"\n"), "the mark of other policies is lost")
	expect(t, held.trust.store == s.vectors.Store && held.trust.knowsStore, "the store is forgotten")
	file := filepath.Join(directory, "state.json")
	data, err := os.ReadFile(file)
	expect(t, err == nil, "%v", err)
	for name, changed := range map[string]string{
		"another namespace": strings.Replace(string(data), `"namespace":"default"`, `"namespace":"other"`, 1),
		"another version":   strings.Replace(string(data), `"version":1`, `"version":2`, 1),
		"half a file":       string(data[:len(data)/2]),
	} {
		expect(t, changed != string(data) && os.WriteFile(file, []byte(changed), 0o600) == nil, "%s is not written", name)
		_, err := s.open(each.Clock, nil, directory)
		expect(t, err != nil, "a directory with %s is used", name)
	}
}
