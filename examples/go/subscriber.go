// Keeps an active set level with its server, over any number of streams: verifies, saves, applies, reports, comes back.
//
// What must be known of the world comes from outside, so that tests can play it: the clock, pauses, and where lines go.

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

// What a subscriber is. ready: a checkpoint proves that what is held is the newest. stale: none does. The others: something was
// refused since.
const (
	ready    = "READY"
	stale    = "STALE"
	rejected = "REJECTED"
	diverged = "DIVERGED"
)

// lastingStream is how long a stream lasts after which the next pause is short again.
const lastingStream = backoffMax

// world is what a subscriber uses of the world: tests give it another one.
type world struct {
	// now is in seconds since the Unix epoch.
	now   func() int64
	pause func(context.Context, time.Duration)
	// apply is what the service does with a change; held.policies has all that is in force. After an error run ends with it.
	apply func(*change) error
	// say is talk for people.
	say func(string)
}

// applyError is an error of the service: what it could not apply is held already, and would not be told again by the next stream.
type applyError struct{ error }

type subscriber struct {
	options   options
	keyFile   *keyFile
	directory *stateDirectory
	world     world
	// mutex guards what is below: the state is shown by a clock too.
	mutex sync.Mutex
	held  *activeSet
	// refused: what was refused, until a message proves again what is held.
	refused *refusal
	// needsSnapshot: the next stream begins with a snapshot.
	needsSnapshot bool
	shown         string
}

// newSubscriber makes a subscriber. directory: nil for one that keeps nothing over restarts.
func newSubscriber(options options, keyFile *keyFile, held *activeSet, directory *stateDirectory, world world) *subscriber {
	s := &subscriber{options: options, keyFile: keyFile, directory: directory, world: world, held: held}
	// Something newer than what was saved verified: only a snapshot leads there.
	s.needsSnapshot = held.position != nil && held.position.isBefore(held.newestVerified)
	return s
}

// state says what the subscriber is, in one of the four words.
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

// showState says the state when it changed.
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

// isDone says whether it was stopped, or the revision is reached that the options name.
func (s *subscriber) isDone(ctx context.Context) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	until := s.options.untilRevision
	return ctx.Err() != nil || (until > 0 && s.held.position != nil && s.held.position.revision >= until)
}

// run watches until the context ends, or the revision is reached that the options name.
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

// oneStream reads one stream from its opening to its end, and returns how long the server asks to wait before the next one. Only an
// error of the service is one that ends it all.
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

// lookAtKeys says whether the set follows other keys now.
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
				return nil, nil // what came is not taken yet: it comes again
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

// request asks for what comes after what is held, and drops what an unfinished stream left.
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

// take takes a message over, and says whether something was reported on this stream by now.
func (s *subscriber) take(ctx context.Context, hub *hub, message *pb.WatchActiveResponse, isReported bool) (bool, error) {
	report, err := s.applyMessage(message, isReported)
	if err != nil || report == nil {
		return isReported, err
	}
	return s.send(ctx, hub, report), nil
}

// applyMessage takes a message over, and returns what is to be reported of it; nil: nothing.
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
	// No answer to a report is signed, and a server may lose what it took: it is said once on each stream at least, at a checkpoint
	// that proves what is held.
	if change != nil || (!isReported && isProven) {
		return s.report(s.heldCursor(), ""), nil
	}
	return nil, nil
}

// refuse deals with a message that broke a rule: what is in force stays, the operators hear of it, and the next stream begins with a
// snapshot. message is nil for one that could not be read.
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

// report makes a report: what this runtime runs with, and why it rejected a position; rejection is empty when it did not.
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

// send sends a report, and says whether the server took it.
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

// save makes what is held outlive a kill. A disk that refuses undoes nothing: the next message tries again.
func (s *subscriber) save() {
	if s.directory == nil {
		return
	}
	if err := s.directory.save(s.held); err != nil {
		s.world.say(fmt.Sprintf("could not save: %v", err))
	}
}
