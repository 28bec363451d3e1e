// The options of a subscriber, from arguments and the environment variables that policyhub itself reads.

package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
)

type options struct {
	// address is host and port; isTLS says whether the server has a certificate.
	address string
	isTLS   bool
	// caCert is the PEM file of your own authority; empty: those of the system.
	caCert string
	// tokenFile takes precedence over token.
	tokenFile string
	token     string
	// jwks is the file of keys to trust, a JWK Set.
	jwks string
	// pinStrict: trust only the keys of the file, and no key statement.
	pinStrict bool
	// store is the id of the store whose documents count; empty: that of the first accepted message.
	store     string
	namespace string
	// policies are the ids of the requested policies; none: all of the namespace.
	policies []string
	// subscriberID is the stable id of this runtime; empty: anonymous, and nothing is reported.
	subscriberID string
	// state is a directory that keeps what is in force over restarts; empty: nothing is kept.
	state string
	// untilRevision: end once this revision is reached; 0: never.
	untilRevision int64
}

func parseOptions(arguments []string) (options, error) {
	parsed := options{token: os.Getenv("POLICYHUB_TOKEN")}
	variable := func(name, otherwise string) string {
		if value := os.Getenv("POLICYHUB_" + name); value != "" {
			return value
		}
		return otherwise
	}
	flags := flag.NewFlagSet("watch", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	server := flags.String("server", variable("SERVER", "http://127.0.0.1:7070"), "")
	flags.StringVar(&parsed.caCert, "ca-cert", variable("CA_CERT", ""), "")
	flags.StringVar(&parsed.tokenFile, "token-file", variable("TOKEN_FILE", ""), "")
	flags.StringVar(&parsed.jwks, "jwks", "", "")
	flags.BoolVar(&parsed.pinStrict, "pin-strict", false, "")
	flags.StringVar(&parsed.store, "store", "", "")
	flags.StringVar(&parsed.namespace, "namespace", variable("NAMESPACE", "default"), "")
	flags.StringVar(&parsed.subscriberID, "subscriber-id", "", "")
	flags.StringVar(&parsed.state, "state", "", "")
	flags.Int64Var(&parsed.untilRevision, "until-revision", 0, "")
	if err := flags.Parse(arguments); err != nil {
		return parsed, err
	}
	parsed.policies = flags.Args()
	if parsed.jwks == "" {
		return parsed, fmt.Errorf("--jwks FILE is needed: the keys to trust, as a JWK Set")
	}
	for _, id := range append([]string{parsed.namespace}, parsed.policies...) {
		if !isID(id) {
			return parsed, fmt.Errorf("%s is no id", id)
		}
	}
	return parsed, parsed.setServer(*server)
}

func (o *options) setServer(text string) error {
	server, err := url.Parse(text)
	isSafe := err == nil && server.Hostname() != "" && (server.Scheme == "https" || (server.Scheme == "http" && isLoopback(server.Hostname())))
	if !isSafe {
		return fmt.Errorf("%s must be https://, or http:// on loopback: in clear text a token is no secret", text)
	}
	o.isTLS = server.Scheme == "https"
	port := server.Port()
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[o.isTLS]
	}
	o.address = net.JoinHostPort(server.Hostname(), port)
	return nil
}

func isLoopback(host string) bool {
	return host == "127.0.0.1" || host == "::1" || host == "localhost"
}

// bearer returns the bearer token of calls; empty: none. A renewed token is used from the next connection on.
func (o *options) bearer() (string, error) {
	token := o.token
	if o.tokenFile != "" {
		data, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return "", err
		}
		token = strings.TrimSpace(string(data))
	}
	if token == "" {
		return "", nil
	}
	return "Bearer " + token, nil
}
