// Keeps the active set of a namespace, and prints one line for each change once it is verified.
//
//	watch --jwks keys.json --subscriber-id shop-1 [POLICY…]
//
// Put what your service does with a change into apply. SIGINT and SIGTERM end it with exit code 0.

package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const lineMaxCharacters = 4_096

// apply lets the service apply a change. This one prints it.
func apply(change *change) error {
	var moves []string
	for _, policy := range change.changed {
		label := ""
		if policy.label != "" {
			label = " " + policy.label
		}
		moves = append(moves, fmt.Sprintf("%s -> %d%s %.19s", policy.policy, policy.version, label, policy.digest))
	}
	for _, policy := range change.removed {
		moves = append(moves, policy+" -> none")
	}
	what := strings.Join(moves, ", ")
	if what == "" {
		what = "nothing is active"
	}
	by := ""
	if change.actor != "" {
		by = " by " + change.actor + ":"
	}
	_, err := fmt.Println(oneLine(fmt.Sprintf("%s %v%s %s", change.kind, change.position, by, what), lineMaxCharacters))
	return err
}

// say prints on stderr: stdout is for data.
func say(talk string) {
	fmt.Fprintln(os.Stderr, oneLine("watch: "+talk, lineMaxCharacters))
}

// oneLine makes text from outside one line of bounded length.
func oneLine(text string, mostCharacters int) string {
	characters := []rune(text)
	if len(characters) > mostCharacters {
		characters = characters[:mostCharacters]
	}
	for index, character := range characters {
		if !unicode.IsPrint(character) {
			characters[index] = ' '
		}
	}
	return string(characters)
}

// open makes a subscriber with the contents of its state directory.
func open(options options, world world) (*subscriber, error) {
	keyFile, err := openKeyFile(options.jwks)
	if err != nil {
		return nil, err
	}
	var directory *stateDirectory
	saved := &savedState{Store: options.store}
	if options.state != "" {
		if directory, err = openStateDirectory(options.state); err != nil {
			return nil, err
		}
		found, err := directory.read()
		if err != nil {
			return nil, err
		}
		if found != nil {
			saved = found
		}
	}
	var pinned *pinnedKeys
	if !options.pinStrict {
		pinned = newPinnedKeys(keyFile.keys, saved.Pins, saved.Store)
	}
	held := newActiveSet(options.namespace, keyFile.keys, options.policies, pinned, options.store)
	if saved.Version == stateVersion {
		problem, err := directory.restore(held, saved)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			world.say("the saved set is not used: " + problem)
		} else if held.position != nil {
			err = world.apply(&change{kind: "SAVED", position: *held.position, changed: inOrder(held.policies)})
		}
		if err != nil {
			return nil, err
		}
	}
	return newSubscriber(options, keyFile, held, directory, world), nil
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// showStates prints when freshness ended: it does so by time, even when no message comes.
func showStates(ctx context.Context, of *subscriber) {
	for ctx.Err() == nil {
		of.showState()
		pause(ctx, time.Second)
	}
}

func run(options options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	now := func() int64 { return time.Now().Unix() }
	subscriber, err := open(options, world{now, pause, apply, say})
	if err != nil {
		return err
	}
	go showStates(ctx, subscriber)
	err = subscriber.run(ctx)
	if ctx.Err() != nil {
		say("told to end")
	}
	return err
}

func main() {
	rand.Seed(time.Now().UnixNano())
	options, err := parseOptions(os.Args[1:])
	if err != nil {
		say(err.Error())
		os.Exit(2)
	}
	if err := run(options); err != nil {
		say(err.Error())
		os.Exit(1)
	}
}
