package kafka

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// mechanism gives what authenticates connections, or nil.
func (s *Security) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "":
		return nil
	case mechanismOAuth:
		return bearer{s.Token}
	}
	return secretMechanism{s.Mechanism, s.Username, s.Password}
}

// secretMechanism asks for the password each time that a connection is
// authenticated. The errors of the libraries below may show a piece of it and
// stay here.
type secretMechanism struct {
	name, username string
	password       func() (string, error)
}

// Name is the mechanism's, as SASL has it.
func (m secretMechanism) Name() string { return m.name }

// Start begins one authentication.
func (m secretMechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := m.password()
	if err != nil {
		return nil, nil, errors.New("security.password: " + err.Error())
	}
	var algorithm scram.Algorithm
	switch m.name {
	case mechanismPlain:
		if password == "" || strings.ContainsRune(password, 0) {
			return nil, nil, errors.New("security.password: is empty or holds a NUL")
		}
		return plain.Mechanism{Username: m.username, Password: password}.Start(ctx)
	case mechanismScram256:
		algorithm = scram.SHA256
	case mechanismScram512:
		algorithm = scram.SHA512
	}
	s, err := scram.Mechanism(algorithm, m.username, password)
	if err != nil || password == "" {
		return nil, nil, errors.New("security.username, security.password: cannot be used with SCRAM: empty or with characters that it prohibits")
	}
	session, first, err := s.Start(ctx)
	if err != nil {
		return nil, nil, errors.New("SCRAM cannot begin")
	}
	return scramSession{session}, first, nil
}

// maxIterations bounds the work that a broker may demand. Apache Kafka itself
// takes at most 16384.
const maxIterations = 1 << 20

// scramSession keeps the library's errors back.
type scramSession struct{ sasl.StateMachine }

// Next answers the broker, and ends with the broker's own proof that it knows
// the password.
func (s scramSession) Next(ctx context.Context, challenge []byte) (bool, []byte, error) {
	if _, after, ok := bytes.Cut(challenge, []byte(",i=")); ok {
		count, _, _ := bytes.Cut(after, []byte(","))
		if n, err := strconv.Atoi(string(count)); err != nil || n > maxIterations {
			return false, nil, errors.New("it demands too much work of SCRAM")
		}
	}
	if bytes.HasPrefix(challenge, []byte("e=")) {
		return false, nil, errors.New("it refuses the username or password")
	}
	done, answer, err := s.StateMachine.Next(ctx, challenge)
	if err != nil {
		return false, nil, errors.New("it does not prove by SCRAM that it knows the password")
	}
	return done, answer, nil
}
