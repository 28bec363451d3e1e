// What the tests of whole streams share: the vectors, a server that plays them, and a subscriber in this process.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

const caseTimeout = 20 * time.Second

type goldenSet struct {
	Epoch, Revision int64
	Policies        map[string]struct {
		Version         int64
		Digest          string
		Epoch, Revision int64
	}
}

type streamCase struct {
	Name, Kind string
	Clock      int64
	Filter     []string
	Before     []string
	Lie        [][]string
	Repair     []string
	After      string
	Then       struct {
		Holds   *string
		State   string
		Stale   bool
		Refused int
	}
}

// stage is a server, the vectors that it plays, and a file of the keys to pin.
type stage struct {
	t       *testing.T
	hub     *scriptedHub
	jwks    string
	vectors struct {
		Store    string
		Pins     json.RawMessage
		Sets     map[string]goldenSet
		Messages map[string][][]byte
		Cases    []streamCase
	}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, hub: startHub(t), jwks: filepath.Join(t.TempDir(), "keys.json")}
	expect(t, json.Unmarshal(readVector(t, "streams", "streams.json"), &s.vectors) == nil, "streams.json is not read")
	s.writeKeys(s.vectors.Pins)
	return s
}

func (s *stage) writeKeys(jwks []byte) {
	s.t.Helper()
	expect(s.t, os.WriteFile(s.jwks, jwks, 0o600) == nil, "the keys are not written")
}

func (s *stage) caseOf(name string) streamCase {
	s.t.Helper()
	for _, each := range s.vectors.Cases {
		if each.Name == name {
			return each
		}
	}
	s.t.Fatalf("no case is called %s", name)
	return streamCase{}
}

func (s *stage) steps(names ...string) []step {
	s.t.Helper()
	var steps []step
	for _, name := range names {
		parts := s.vectors.Messages[name]
		expect(s.t, len(parts) > 0, "%s is not there", name)
		for _, part := range parts {
			steps = append(steps, part)
		}
	}
	return steps
}

// setAt returns what was in force at a position, of the policies in a filter; empty: nothing is held.
func (s *stage) setAt(position string, filter []string) string {
	found, isThere := s.vectors.Sets[position]
	if !isThere {
		return "nothing"
	}
	var lines []string
	for policy, at := range found.Policies {
		isAsked := len(filter) == 0
		for _, each := range filter {
			isAsked = isAsked || each == policy
		}
		if isAsked {
			lines = append(lines, fmt.Sprintf("%s %d %s %d:%d", policy, at.Version, at.Digest, at.Epoch, at.Revision))
		}
	}
	sort.Strings(lines)
	return strings.Join(append([]string{fmt.Sprintf("%d:%d", found.Epoch, found.Revision)}, lines...), "\n")
}

// player is a subscriber that does not wait, with its output and actions.
type player struct {
	t          *testing.T
	subscriber *subscriber
	mutex      sync.Mutex
	said       []string
	moves      []position
	// broken is the error with which applying a change fails.
	broken error
}

// open makes a subscriber with a directory; without one, it keeps nothing.
func (s *stage) open(clock int64, filter []string, directory string) (*player, error) {
	p := &player{t: s.t}
	arguments := []string{"--server", "http://" + s.hub.address, "--jwks", s.jwks, "--subscriber-id", "s-1", "--state", directory}
	options, err := parseOptions(append(arguments, filter...))
	expect(s.t, err == nil, "%v", err)
	p.subscriber, err = open(options, world{
		now:   func() int64 { return clock },
		pause: func(context.Context, time.Duration) {},
		apply: p.apply,
		say:   p.say,
	})
	return p, err
}

func (s *stage) player(clock int64, filter []string, directory string) *player {
	s.t.Helper()
	p, err := s.open(clock, filter, directory)
	expect(s.t, err == nil, "%v", err)
	return p
}

func (p *player) apply(change *change) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if change.kind != "SAVED" {
		p.moves = append(p.moves, change.position)
	}
	return p.broken
}

func (p *player) say(talk string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.said = append(p.said, talk)
}

// saysThat returns whether the output contains these words.
func (p *player) saysThat(words string) bool { return strings.Contains(p.talk(), words) }

func (p *player) talk() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return strings.Join(p.said, "\n")
}

// refused counts the streams that were refused.
func (p *player) refused() int { return strings.Count("\n"+p.talk(), "\nrefused: ") }

// holds returns what is in force, in the form of stage.setAt.
func (p *player) holds() string {
	p.subscriber.mutex.Lock()
	defer p.subscriber.mutex.Unlock()
	held := p.subscriber.held
	if held.position == nil {
		return "nothing"
	}
	lines := []string{held.position.String()}
	for _, policy := range inOrder(held.policies) {
		lines = append(lines, fmt.Sprintf("%s %d %s %v", policy.policy, policy.version, policy.digest, policy.since))
	}
	return strings.Join(lines, "\n")
}

func (p *player) isStale(now int64) bool {
	p.subscriber.mutex.Lock()
	defer p.subscriber.mutex.Unlock()
	return !p.subscriber.held.isFresh(now)
}

// until runs the subscriber until the condition holds.
func (p *player) until(what string, holds func() bool) {
	p.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.subscriber.run(ctx) }()
	deadline := time.Now().Add(caseTimeout)
	for !holds() {
		expect(p.t, time.Now().Before(deadline), "%s: not seen; holds %s; says %s", what, p.holds(), p.talk())
		time.Sleep(time.Millisecond)
	}
	stop()
	err := <-ended
	expect(p.t, err == nil, "%s: %v", what, err)
}
