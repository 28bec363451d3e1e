// Keeps an active set up to date with its server, over any number of streams: verifies, saves, applies, reports,
// reconnects.
//
// Clock, pauses and output are passed in, so that tests can replace them.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"time"

	pb "policyhub/v1"

	"google.golang.org/protobuf/types/known/durationpb"
)

// The states of a subscriber. ready: a checkpoint proves that the held set is the newest. stale: none does. The others:
// something was refused since.
const (
	ready    = "READY"
	stale    = "STALE"
	rejected = "REJECTED"
	diverged = "DIVERGED"
)

// lastingStream is how long a stream must last for the next pause to be short again.
const lastingStream = backoffMax

// world is what a subscriber uses of its environment; tests replace it.
type world struct {
	// now is in seconds since the Unix epoch.
	now   func() int64
	pause func(context.Context, time.Duration)
	// apply lets the service apply a change; held.policies has everything in force. After an error, run ends with it.
	apply func(*change) error
	// say prints messages for people.
	say func(string)
}

// applyError is an error of the service: the change is held already, so the next stream would not send it again.
type applyError struct{ error }

type subscriber struct {
	options   options
	keyFile   *keyFile
	directory *stateDirectory
	world     world
	// mutex guards the fields below: a timer shows the state too.
	mutex sync.Mutex
	held  *activeSet
	// refused is the last refusal, until a message proves the held set again.
	refused *refusal
	// needsSnapshot: the next stream begins with a snapshot.
	needsSnapshot bool
	shown         string
}

// newSubscriber makes a subscriber. directory: nil for one that keeps nothing over restarts.
func newSubscriber(options options, keyFile *keyFile, held *activeSet, directory *stateDirectory, world world) *subscriber {
	s := &subscriber{options: options, keyFile: keyFile, directory: directory, world: world, held: held}
	// Something newer than what was saved was verified: only a snapshot leads there.
	s.needsSnapshot = held.position != nil && held.position.isBefore(held.newestVerified)
	return s
}

// state returns one of the four states.
func (s *subscriber) state() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.stateNow()
}

func (s *subscriber) stateNow() string {
	switch {
	case s.refused != nil:
		return s.refused.state()
	case s.held.isFresh(s.world.now()):
		return ready
	default:
		return stale
	}
}

// showState prints the state when it has changed.
func (s *subscriber) showState() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.showStateNow()
}

func (s *subscriber) showStateNow() {
	state := s.stateNow()
	if state == s.shown || (s.held.position == nil && s.refused == nil) {
		return
	}
	s.shown = state
	switch {
	case s.refused != nil:
		state += ": " + s.refused.why
	case state == stale:
		state += ": nothing proves that what is held is the newest"
		if s.held.freshness.unproven != "" {
			state += ": " + s.held.freshness.unproven
		}
	}
	s.world.say(state)
}

// isDone returns whether it was stopped, or has reached the revision in the options.
func (s *subscriber) isDone(ctx context.Context) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	until := s.options.untilRevision
	return ctx.Err() != nil || (until > 0 && s.held.position != nil && s.held.position.revision >= until)
}

// run watches until the context ends, or the revision in the options is reached.
func (s *subscriber) run(ctx context.Context) error {
	shortStreams := 0
	for !s.isDone(ctx) {
		began := time.Now()
		asked, err := s.oneStream(ctx)
		if err != nil {
			return err
		}
		shortStreams++
		if time.Since(began) > lastingStream {
			shortStreams = 0
		}
		s.showState()
		if !s.isDone(ctx) {
			s.world.pause(ctx, pauseBefore(shortStreams, asked, rand.Float64()))
		}
	}
	return nil
}

// oneStream reads one stream from its opening to its end, and returns how long the server asks to wait before the next
// one. Only an error of the service ends the program.
func (s *subscriber) oneStream(ctx context.Context) (*durationpb.Duration, error) {
	s.lookAtKeys()
	hub, err := openHub(s.options)
	var asked *durationpb.Duration
	if err == nil {
		defer hub.close()
		asked, err = s.readStream(ctx, hub)
	}
	var broken *applyError
	switch {
	case errors.As(err, &broken):
		return nil, broken
	case err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil:
		return asked, nil
	}
	s.world.say("stream ended: " + errorText(err))
	s.mutex.Lock()
	s.needsSnapshot = s.needsSnapshot || isResumePointGone(err)
	s.mutex.Unlock()
	return asked, nil
}

// lookAtKeys returns whether the set follows other keys now.
func (s *subscriber) lookAtKeys() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.keyFile.look(s.held, s.world.say)
}

func (s *subscriber) readStream(ctx context.Context, hub *hub) (*durationpb.Duration, error) {
	stream, err := hub.watch(ctx, s.request())
	if err != nil {
		return nil, err
	}
	defer stream.cancel()
	silence := silenceMax
	isReported := false
	for !s.isDone(ctx) {
		data, err := stream.next(silence)
		if err != nil {
			return nil, err
		}
		message, err := readWatchMessage(data)
		if err == nil {
			if opened := message.GetOpened(); opened != nil {
				silence = silenceAllowed(opened.HeartbeatInterval)
			}
			if reconnect := message.GetReconnect(); reconnect != nil {
				s.world.say(fmt.Sprintf("server says: %v", reconnect.Reason))
				return reconnect.Backoff, nil
			}
			if s.lookAtKeys() {
				return nil, nil // the message was not accepted yet, so the next stream sends it again
			}
			isReported, err = s.take(ctx, hub, message, isReported)
		}
		if refused := asRefusal(err); refused != nil {
			s.refuse(ctx, hub, refused, message)
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// request asks for what follows the held set, and discards what an unfinished stream left.
func (s *subscriber) request() *pb.WatchActiveRequest {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.held.beginStream()
	target := &pb.WatchTarget{Parent: "namespaces/" + s.options.namespace, Policies: sortedKeys(s.held.wanted)}
	if s.held.position != nil && !s.needsSnapshot {
		target.Resume = s.heldCursor()
	}
	request := &pb.WatchActiveRequest{Targets: []*pb.WatchTarget{target}, SubscriberId: s.options.subscriberID}
	if s.held.pinned != nil {
		newest := s.held.pinned.position()
		request.KeyCursor = &pb.Cursor{Epoch: newest.epoch, Revision: newest.revision}
	}
	return request
}

func (s *subscriber) heldCursor() *pb.Cursor {
	return &pb.Cursor{Epoch: s.held.position.epoch, Revision: s.held.position.revision, Fingerprint: s.held.event}
}

// take applies a message, and returns whether something has been reported on this stream.
func (s *subscriber) take(ctx context.Context, hub *hub, message *pb.WatchActiveResponse, isReported bool) (bool, error) {
	report, err := s.applyMessage(message, isReported)
	if err != nil || report == nil {
		return isReported, err
	}
	return s.send(ctx, hub, report), nil
}

// applyMessage applies a message, and returns the report to send; nil: none.
func (s *subscriber) applyMessage(message *pb.WatchActiveResponse, isReported bool) (*pb.ReportStatusRequest, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change, err := s.held.apply(message, s.world.now())
	if err != nil {
		return nil, err
	}
	s.save()
	isProven := message.GetHeartbeat() != nil && s.held.isFresh(s.world.now())
	if change != nil || isProven {
		s.refused = nil
	}
	if change != nil {
		s.needsSnapshot = false
		if err := s.world.apply(change); err != nil {
			return nil, &applyError{fmt.Errorf("the service could not apply %s %v: %w", change.kind, change.position, err)}
		}
	}
	s.showStateNow()
	// Answers to reports are not signed, and a server may lose a report: send it at least once on each stream, at a
	// checkpoint that proves the held set.
	if change != nil || (!isReported && isProven) {
		return s.report(s.heldCursor(), ""), nil
	}
	return nil, nil
}

// refuse handles a message that broke a rule: what is in force stays, the refusal is reported, and the next stream
// begins with a snapshot. message is nil when it could not be read.
func (s *subscriber) refuse(ctx context.Context, hub *hub, refused *refusal, message *pb.WatchActiveResponse) {
	if report := s.applyRefusal(refused, message); report != nil {
		s.send(ctx, hub, report)
	}
}

func (s *subscriber) applyRefusal(refused *refusal, message *pb.WatchActiveResponse) *pb.ReportStatusRequest {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.refused, s.needsSnapshot = refused, true
	s.save()
	s.world.say(fmt.Sprintf("refused: %s; what is in force stays", refused.why))
	s.showStateNow()
	var held position
	if s.held.position != nil {
		held = *s.held.position
	}
	switch named := cursorOf(message); {
	case named != nil && held.isBefore(positionOf(named)):
		return s.report(&pb.Cursor{Epoch: named.Epoch, Revision: named.Revision}, refused.why)
	case refused.unproven && s.held.position != nil:
		return s.report(s.heldCursor(), refused.why)
	default:
		return nil
	}
}

// report makes a report: what this runtime runs with, and why it rejected a position; rejection is empty when it did
// not.
func (s *subscriber) report(cursor *pb.Cursor, rejection string) *pb.ReportStatusRequest {
	status := pb.ApplyStatus_APPLY_STATUS_APPLIED
	if rejection != "" {
		status = pb.ApplyStatus_APPLY_STATUS_REJECTED
	}
	return &pb.ReportStatusRequest{
		Name:   fmt.Sprintf("namespaces/%s/subscribers/%s", s.options.namespace, s.options.subscriberID),
		Cursor: cursor, Digest: s.held.digest(), Status: status, Reason: oneLine(rejection, 1_000),
	}
}

// send sends a report, and returns whether the server accepted it.
func (s *subscriber) send(ctx context.Context, hub *hub, report *pb.ReportStatusRequest) bool {
	if s.options.subscriberID == "" {
		return true
	}
	err := hub.report(ctx, report)
	if err != nil && ctx.Err() == nil {
		s.world.say("could not report: " + errorText(err))
	}
	return err == nil
}

// save makes the held set survive a kill. After an error of the disk, the next message tries again.
func (s *subscriber) save() {
	if s.directory == nil {
		return
	}
	if err := s.directory.save(s.held); err != nil {
		s.world.say(fmt.Sprintf("could not save: %v", err))
	}
}
